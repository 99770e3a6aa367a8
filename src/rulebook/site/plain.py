"""What programs read: the Markdown beside each page, llms.txt, robots.txt."""

from rulebook.render import llms_head
from rulebook.site.book import Book
from rulebook.site.document import Document, markdown_url


def plain_files(book: Book, documents: list[Document]) -> dict[str, str]:
    """Every such file by its path in the site."""
    files = {f"{each.address}index.md": each.plain.strip() + "\n" for each in documents}
    files["llms.txt"] = _index(book, documents)
    files["llms-full.txt"] = "\n\n".join(
        f"<!-- {markdown_url(book, each.path)} -->\n\n{each.plain.strip()}" for each in documents
    )
    files["llms-full.txt"] += "\n"
    files["robots.txt"] = f"User-agent: *\nAllow: /\nSitemap: {book.url}sitemap.xml\n"
    return files


def _index(book: Book, documents: list[Document]) -> str:
    """An index by https://llmstxt.org, with absolute links to the Markdown of each page."""
    lines = llms_head()
    groups: dict[str, list[str]] = {}
    for each in documents:
        folder = each.path.split("/")[0] if "/" in each.path else "pages"
        rule = book.rules.get(each.path.removeprefix("rules/").removesuffix(".md"))
        said = rule.meta["when"] if rule else each.description
        groups.setdefault(folder, []).append(
            f"- [{each.title}]({markdown_url(book, each.path)}): {said}"
        )
    for name in ("rules", "errors", "pages"):
        lines += ["", f"## {name.capitalize()}", "", *groups.get(name, [])]
    return "\n".join(lines) + "\n"
