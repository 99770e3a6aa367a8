"""Texts of metrics."""

from prometheus_client import CollectorRegistry, Counter, multiprocess
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from tests.harness.errors import produces


@produces("pooling", "Duplicated timeseries in CollectorRegistry")
def a_metric_is_made_by_each_application(cured):
    """The factory of an application makes its metrics in one registry, and is called twice."""
    shared = CollectorRegistry()

    def make_app():
        registry = CollectorRegistry() if cured else shared
        Counter("checkouts", "Connections taken", registry=registry)

    make_app()
    make_app()


@produces("pooling", "Incorrect label names")
def a_label_has_another_name(cured):
    """A value is given for a label that the metric does not have."""
    checkouts = Counter("checkouts", "Taken", ["engine"], registry=CollectorRegistry())
    checkouts.labels(**{"engine" if cured else "pool": "main"}).inc()


@produces("pooling", "Incorrect label count")
def a_label_is_left_out(cured):
    """A metric of two labels gets one value."""
    checkouts = Counter("checkouts", "Taken", ["engine", "route"], registry=CollectorRegistry())
    checkouts.labels("main", *["/orders"] * cured).inc()


@produces("pooling", "env PROMETHEUS_MULTIPROC_DIR is not set or not a directory")
def a_folder_of_metrics_is_missing(cured, tmp_path):
    """Metrics of several processes are collected from a folder that nobody has made."""
    folder = tmp_path / "metrics"
    if cured:
        folder.mkdir()
    multiprocess.MultiProcessCollector(CollectorRegistry(), path=str(folder))


@produces("pooling", "Read beyond file size detected")
def two_containers_write_into_one_folder(cured, tmp_path):
    """Both have a process 1; the file bears its number, and each writes where it thinks the end."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    folders = (tmp_path / "one", tmp_path / ("two" if cured else "one"))
    files = [MmapedDict(str(folder / "counter_1.db")) for folder in folders]
    for place, path in ((0, 15 * "x"), (1, 20 * "x"), (0, 7 * "x")):
        key = mmap_key("jr"[place], "jr"[place] + "_total", ["path"], [path], "h")
        files[place].write_value(key, 1.0, 1.0)
    for folder in folders:
        collector = multiprocess.MultiProcessCollector(CollectorRegistry(), path=str(folder))
        list(collector.collect())
