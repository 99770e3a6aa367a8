"""The command line: each command parses its arguments, calls one function, prints."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FINE, FOUND, MISUSE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when all is well, 1 when it found something, 2 on misuse."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (OSError, RuntimeError) as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return MISUSE
    except ModuleNotFoundError as error:
        hint = "pip install -r requirements-test.txt"
        print(f"rulebook: {error}; run `{hint}` in the repository", file=sys.stderr)
        return MISUSE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rulebook",
        description="Check, build, ship and install the python-backend skill.",
        epilog="Exit status: 0 all is well, 1 something was found, 2 misuse.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        root = "the repository to work on (default: the one this command is from)"
        added.add_argument("--root", type=Path, default=ROOT, help=root)
        return added

    check = command("check", "check every rule, test claim and generated text")
    check.add_argument("--json", action="store_true", help="print findings and counts as JSON")
    check.set_defaults(run=_check)
    build = command("build", "write the generated texts: index, tables, llms.txt, manifests")
    build.set_defaults(run=_build)
    new = command("new", "start a rule: its page and its test, both red")
    new.add_argument("rule", metavar="CATEGORY/NAME")
    new.set_defaults(run=_new)
    ship = command("ship", "write the branch that users install from: DIR/skills and a few files")
    folder = "new, empty, or shipped into before: that is replaced, but for its .git"
    ship.add_argument("folder", type=Path, metavar="DIR", help=folder)
    owner = "whose repository the texts name (default: as in pyproject.toml)"
    ship.add_argument("--owner", help=owner)
    ship.set_defaults(run=_ship)
    site = command("site", "write the documentation site into a folder")
    folder = "new, empty, or written by this command before; its .git stays"
    site.add_argument("folder", type=Path, metavar="DIR", help=folder)
    url = "https://OWNER.github.io/python-backend/"
    site.add_argument("--url", default=url, help=f"where it will be read (default: {url})")
    repository = "https://github.com/OWNER/python-backend"
    source = f"where its source is (default: {repository})"
    site.add_argument("--repository", default=repository, metavar="URL", help=source)
    site.set_defaults(run=_site)
    install = command("install", "put the skill into a project, for each agent as a real copy")
    install.add_argument("project", type=Path, metavar="PROJECT")
    install.add_argument(
        "--only",
        choices=["agents", "claude"],
        help="agents: .agents/skills (Codex, Cursor, Gemini CLI, Copilot and others);"
        " claude: .claude/skills (Claude Code); default: both",
    )
    install.add_argument(
        "--agents-md",
        action="store_true",
        help="also put a block of at most 1,000 bytes into PROJECT/AGENTS.md that sends agents to"
        " the skill; each later install refreshes it, --uninstall removes it with the last copy",
    )
    install.add_argument(
        "--uninstall", action="store_true", help="remove the skill and folders that are empty then"
    )
    install.add_argument(
        "--force", action="store_true", help="replace, or remove, what is edited or not ours"
    )
    install.add_argument("--json", action="store_true", help="print what was done as JSON")
    install.set_defaults(run=_install)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    from rulebook.check import check

    report = check(arguments.root.resolve())
    if arguments.json:
        findings = [
            {"path": str(f.path), "line": f.line, "message": f.message, "hint": f.hint}
            for f in report.findings
        ]
        content = {"findings": findings, "counts": report.counts, "budgets": report.budgets}
        print(json.dumps(content, indent=2))
        return FOUND if report.findings else FINE
    for finding in report.findings:
        path = finding.path
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        print(f"{path}:{finding.line}: {finding.message}; {finding.hint}")
    for name, (done, total) in report.counts.items():
        print(f"{done} of {total} {name}", file=sys.stderr)
    for name, (cost, limit) in report.budgets.items():
        unit = "" if name.endswith("lines") else " tokens"
        print(f"{name}: {cost} of {limit}{unit}", file=sys.stderr)
    return FOUND if report.findings else FINE


def _build(arguments: argparse.Namespace) -> int:
    from rulebook.evidence import read_evidence
    from rulebook.parse import read_rules
    from rulebook.render import generated

    root = arguments.root.resolve()
    rules, unreadable = read_rules(root)
    evidence, _ = read_evidence(root)
    try:
        texts, findings = generated(root, rules, evidence)
    except KeyError as error:
        print(f"rulebook: a rule lacks the field {error}; run `rulebook check`", file=sys.stderr)
        return FOUND
    for finding in unreadable + findings:
        print(f"{finding.path}:{finding.line}: {finding.message}; {finding.hint}", file=sys.stderr)
    if unreadable or findings:
        return FOUND
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(root))
    return FINE


def _new(arguments: argparse.Namespace) -> int:
    from rulebook.scaffold import ScaffoldError, new_rule

    try:
        paths = new_rule(arguments.root.resolve(), arguments.rule)
    except (ValueError, ScaffoldError) as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return MISUSE
    for path in paths:
        print(path)
    return FINE


def _ship(arguments: argparse.Namespace) -> int:
    from rulebook.dist import OWNER, DistError, project_owner, ship, tree
    from rulebook.payload import PayloadError

    folder, root = arguments.folder.resolve(), arguments.root.resolve()
    owner = project_owner(root) if arguments.owner is None else arguments.owner
    if not OWNER.fullmatch(owner):
        print(f"rulebook: {owner!r}: is no owner's name; letters, digits, -", file=sys.stderr)
        return MISUSE
    try:
        files = tree(root, owner)
        ship(files, folder)
    except PayloadError as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return FOUND
    except DistError as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return MISUSE
    print(folder)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes", file=sys.stderr)
    return FINE


def _site(arguments: argparse.Namespace) -> int:
    from rulebook.site.book import SiteError
    from rulebook.site.build import UseError, build

    folder = arguments.folder.resolve()
    try:
        count = build(arguments.root.resolve(), folder, arguments.url, arguments.repository)
    except (SiteError, UseError) as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return MISUSE if isinstance(error, UseError) else FOUND
    print(folder)
    print(f"{count} pages", file=sys.stderr)
    return FINE


def _install(arguments: argparse.Namespace) -> int:
    from rulebook.agents_md import AgentsMdError, hidden_by
    from rulebook.install import FOLDERS, InstallError, clone, install, uninstall
    from rulebook.payload import PayloadError, payload

    project, force = arguments.project.resolve(), arguments.force
    if not project.is_dir():
        print(f"rulebook: {project}: is not a folder; name a project", file=sys.stderr)
        return MISUSE
    home = None if arguments.uninstall else clone(project)
    if home:
        where = f"{project}: belongs to the skill's own repository, {home}"
        print(f"rulebook: {where}; name the project that is to get it", file=sys.stderr)
        return MISUSE
    agents = [arguments.only] if arguments.only else list(FOLDERS)
    try:
        if arguments.uninstall:
            outcomes, cost = uninstall(project, agents, force=force), {}
        else:
            files, block = payload(arguments.root.resolve()), arguments.agents_md
            outcomes = install(files, project, agents, agents_md=block, force=force)
            cost = _cost(files)
    except (AgentsMdError, InstallError, PayloadError) as error:
        print(f"rulebook: {error}", file=sys.stderr)
        return FOUND
    if arguments.json:
        done = [{"path": str(each.path), "action": each.action} for each in outcomes]
        print(json.dumps({"done": done, "tokens": cost}, indent=2))
        return FINE
    for each in outcomes:
        print(f"{each.action} {each.path}")
    if not arguments.uninstall:
        for line in _advice(agents, cost, new=any(o.action != "unchanged" for o in outcomes)):
            print(line, file=sys.stderr)
        if arguments.agents_md and (hiding := hidden_by(project)):
            line = "@../AGENTS.md" if hiding.parent.name == ".claude" else "@AGENTS.md"
            text = f"Claude Code reads it in place of AGENTS.md; write the line {line} into it"
            print(f"{hiding}: {text}", file=sys.stderr)
    return FINE


def _advice(agents: list[str], cost: dict[str, int], *, new: bool) -> list[str]:
    """What the skill costs, what to do next, and how to see that an agent has it."""
    costs = "{always} in every session, {skill} when it is used, {rule} for each rule read"
    lines = [f"Tokens it costs an agent, about: {costs.format(**cost)}."]
    if new:
        claude = ["`/skills` in Claude Code"]
        others = ["`codex debug prompt-input`", "`copilot skill list`", "`opencode debug skill`"]
        ways = claude * ("claude" in agents) + others * ("agents" in agents)
        lines.append("Next: commit what was installed, and begin a new session of your agent.")
        lines.append(f"To see that it has the skill: {', '.join(ways)}.")
    return lines


def _cost(files: dict[str, bytes]) -> dict[str, int]:
    from rulebook.tokens import estimate

    rules = [estimate(data.decode()) for name, data in files.items() if name.startswith("rules/")]
    _, front, body = files["SKILL.md"].decode().split("---\n", 2)
    description = front.partition("description:")[2].partition("\nlicense:")[0]
    return {
        "always": estimate(description),
        "skill": estimate(body),
        "rule": sum(rules) // max(len(rules), 1),
    }
