"""Texts of metrics."""

from prometheus_client import CollectorRegistry, Counter, multiprocess

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
