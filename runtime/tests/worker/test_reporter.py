"""Progress reports, to a real server that is well, ill, slow or absent."""

from __future__ import annotations

import json
import threading
import time

import pytest

from steno_api.v1alpha1.job import Progress, Stage
from steno_api.worker.report import Report
from steno_runtime.worker.reporter import HEARTBEAT_INTERVALS, Reporter, _is_due


def progress(stage: Stage = Stage.DECODING, percent: int = 1) -> Progress:
    return Progress(stage=stage, percent=percent)


@pytest.fixture
def reports(web):
    """Collects reports; `reports.arrived(n)` waits for the n-th."""

    class Reports:
        status = 202

        def __init__(self) -> None:
            self.arrival = threading.Condition()

        def __call__(self, handler):
            handler.send_response(self.status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            with self.arrival:
                self.arrival.notify_all()

        def arrived(self, count: int) -> list[Report]:
            with self.arrival:
                assert self.arrival.wait_for(lambda: len(web.bodies) >= count, timeout=20)
            return [Report.model_validate_json(body) for body in web.bodies]

    collector = Reports()
    web.routes["/v1/reports"] = collector
    return collector


def reporting(web, tmp_path, interval=0.05):
    token = tmp_path / "token"
    token.write_text("first\n")
    return {"url": web.url + "/", "tokenFile": str(token), "intervalSeconds": interval}


def test_reports_carry_the_job_and_the_token_as_it_is_now(web, reports, make_task, tmp_path):
    reporter = Reporter(make_task(attempt=3, reporting=reporting(web, tmp_path)))
    reporter.publish(progress(percent=1))
    first = reports.arrived(1)[0]
    assert (first.job.namespace, first.job.name, first.job.uid, first.attempt) == ("team-a", "standup", "uid-1", 3)
    assert first.progress == progress(percent=1)
    (tmp_path / "token").write_text("second\n")
    reporter.publish(progress(Stage.ALIGNING, 2))
    reports.arrived(2)
    reporter.close()
    assert [headers["authorization"] for _, headers in web.requests] == ["Bearer first", "Bearer second"]
    assert json.loads(web.bodies[0])["progress"] == {"stage": "Decoding", "percent": 1}


def test_a_new_stage_is_reported_at_once_and_the_latest_news_wait_their_turn(web, reports, make_task, tmp_path):
    reporter = Reporter(make_task(reporting=reporting(web, tmp_path, interval=3600)))
    reporter.publish(progress(Stage.FETCHING, 1))
    reports.arrived(1)
    for percent in range(2, 50):
        reporter.publish(progress(Stage.FETCHING, percent))
    reporter.publish(progress(Stage.DECODING, 50))
    assert [report.progress.percent for report in reports.arrived(2)] == [1, 50]
    reporter.close()


@pytest.mark.parametrize(
    ("latest", "sent", "intervals", "due"),
    [
        (progress(), None, 0.0, True),
        (progress(percent=2), progress(percent=1), 0.5, False),
        (progress(percent=2), progress(percent=1), 1.0, True),
        (progress(Stage.ALIGNING), progress(), 0.0, True),
        (progress(), progress(), HEARTBEAT_INTERVALS - 0.1, False),
        (progress(), progress(), HEARTBEAT_INTERVALS, True),
    ],
)
def test_when_a_report_is_due(latest, sent, intervals, due):
    assert _is_due(latest, sent, intervals) is due


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 503])
def test_reports_go_on_to_an_operator_that_refuses(web, reports, make_task, tmp_path, caplog, status):  # noqa: PLR0917
    reports.status = status
    reporter = Reporter(make_task(reporting=reporting(web, tmp_path)))
    reporter.publish(progress(Stage.FETCHING))
    reports.arrived(1)
    reporter.publish(progress(Stage.DECODING))
    reports.arrived(2)
    reporter.publish(progress(Stage.ALIGNING))
    reports.arrived(3)
    reporter.close()
    assert len([record for record in caplog.records if str(status) in str(vars(record).get("why"))]) == 1


def test_proxies_of_the_environment_are_not_asked(web, reports, make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    reporter = Reporter(make_task(reporting=reporting(web, tmp_path)))
    reporter.publish(progress())
    reports.arrived(1)
    reporter.close()


def test_nothing_of_the_operators_health_slows_the_work(web, make_task, tmp_path):
    held = threading.Event()
    web.routes["/v1/reports"] = lambda _: held.wait(30)
    before = time.monotonic()
    reporter = Reporter(make_task(reporting=reporting(web, tmp_path)))
    for percent in range(100):
        for stage in (Stage.DECODING, Stage.ALIGNING):
            reporter.publish(progress(stage, percent))
    reporter.close()
    assert time.monotonic() - before < 5
    held.set()


def test_without_an_operator_and_without_a_token_nothing_breaks(make_task, tmp_path):
    Reporter(make_task()).publish(progress())
    absent = {"url": "http://127.0.0.1:9", "tokenFile": str(tmp_path / "none"), "intervalSeconds": 0.05}
    reporter = Reporter(make_task(reporting=absent))
    reporter.publish(progress())
    reporter.close()
