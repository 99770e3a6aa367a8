"""What rules/asyncio/structured-concurrency.md says of finding a blocking call, and of the GIL."""

import asyncio
import hashlib
import random
import subprocess
import sys
import threading
import time

import pytest

from tests.harness import confirms
from tests.servers.uvicorn import uvicorn

RULE = "asyncio/structured-concurrency"


@confirms(RULE, "blocking-calls-on-the-loop")
def ruff_sees_few_blocking_calls_and_only_where_they_are_direct():
    """The same call one function down is not reported, nor is a driver's, boto3's or a hash."""
    known = ("requests.get('https://shop')", "open('stock')", "time.sleep(1)")
    unknown = (
        "boto3.client('s3').list_buckets()",
        "psycopg.connect('').execute('SELECT 1')",
        "hashlib.scrypt(b'a', salt=b'b', n=2, r=1, p=1)",
    )
    imports = "import hashlib, time\nimport boto3, psycopg, requests\n\n\n"
    direct = [f"{imports}async def handler():\n    {call}\n" for call in known + unknown]
    below = f"{imports}def pause():\n    time.sleep(1)\n\n\nasync def handler():\n    pause()\n"
    options = ["--isolated", "--preview", "--no-cache", "--select=ASYNC", "-"]
    command = [sys.executable, "-m", "ruff", "check", *options]

    found = [
        subprocess.run(command, input=code, capture_output=True, text=True).returncode
        for code in (*direct, below)
    ]

    assert found == [1, 1, 1, 0, 0, 0, 0]


SCRIPT = """
import asyncio, time
async def main():
    asyncio.get_running_loop().slow_callback_duration = THRESHOLD
    time.sleep(0.3)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("options", "threshold", "logged"),
    [([], 0.1, False), (["-X", "dev"], 0.1, True), (["-X", "dev"], 60, False)],
)
@confirms(RULE, "finding-the-blocking-call", limit=30)
def debug_mode_logs_a_step_longer_than_the_threshold(options, threshold, logged):
    """Without -X dev, or below the threshold, a blocking step leaves no line."""
    script = SCRIPT.replace("THRESHOLD", str(threshold))
    command = [sys.executable, *options, "-c", script]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)

    assert ("Executing <Task" in done.stderr and "took" in done.stderr) is logged


@confirms(RULE, "finding-the-blocking-call")
async def the_threshold_is_a_tenth_of_a_second():
    """What asyncio's own loop starts with."""
    assert asyncio.get_running_loop().slow_callback_duration == 0.1


SERVICE = """
import asyncio, faulthandler, time
from contextlib import asynccontextmanager
from fastapi import FastAPI


async def watch():
    while True:
        faulthandler.dump_traceback_later(1)
        await asyncio.sleep(0.5)


@asynccontextmanager
async def lifespan(app):
    if IN_LIFESPAN == "debug":
        asyncio.get_running_loop().set_debug(True)
    watching = asyncio.create_task(watch() if IN_LIFESPAN == "watch" else asyncio.sleep(0))
    yield
    watching.cancel()
    faulthandler.cancel_dump_traceback_later()


app = FastAPI(lifespan=lifespan)


def look_one_call_down():
    time.sleep(SECONDS)  # the blocking line


@app.get("/")
async def handler():
    look_one_call_down()
"""


async def served(in_lifespan, seconds, env):
    """The log of a service whose one request blocked the loop, from that request on."""
    source = f"IN_LIFESPAN, SECONDS = {in_lifespan!r}, {seconds}\n{SERVICE}"
    async with uvicorn(source, env=env) as server:
        before = len(server.log())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        return server.log()[before:]


@pytest.mark.slow
@confirms(RULE, "finding-the-blocking-call", limit=60)
async def uvicorn_on_3_11_needs_set_debug_and_names_its_own_coroutine():
    """The variable works from Python 3.12; either way the handler is not in the line."""
    asked = {"PYTHONASYNCIODEBUG": "1"}
    by_variable, by_call = await asyncio.gather(
        served(None, 0.3, env=asked), served("debug", 0.3, env={})
    )

    assert ("Executing <Task" in by_variable) is (sys.version_info >= (3, 12))
    (line,) = [each for each in by_call.splitlines() if "run_asgi" in each]
    assert "Executing <Task" in line
    assert "handler" not in line


@pytest.mark.slow
@confirms(RULE, "finding-the-blocking-call", limit=60)
async def the_heartbeat_dumps_the_stack_of_a_stall():
    """The innermost line of the first stack is the blocking one; a healthy loop dumps nothing."""
    log = await served("watch", 1.3, env={})  # as long as the claim needs, and a margin

    number = f"{SERVICE}".split("time.sleep(SECONDS)")[0].count("\n") + 2
    head, _, stack = log.partition("(most recent call first):\n")
    assert "Timeout (0:00:01)!" in head
    assert f"line {number} in look_one_call_down" in stack.splitlines()[0]


def turns_of_the_main_thread(work):
    """How often this thread gets to run while another one does `work`."""
    done, turns = threading.Event(), 0

    def run():
        work()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        turns += 1
        time.sleep(0.001)
    thread.join()
    return turns


def derive():
    hashlib.scrypt(b"secret", salt=b"s" * 16, n=2**14, r=8, p=3, maxmem=2**26)


def stretch():
    hashlib.pbkdf2_hmac("sha256", b"secret", b"s" * 16, 200_000)


def test_hashing_lets_other_threads_run_and_sorting_does_not():
    """A single C call that keeps the GIL stops every thread; these two hashes give it up."""
    numbers = list(range(200_000))
    random.Random(1).shuffle(numbers)  # noqa: S311

    held = turns_of_the_main_thread(lambda: sorted(numbers))

    assert turns_of_the_main_thread(derive) > 3 * held
    assert turns_of_the_main_thread(stretch) > 3 * held
