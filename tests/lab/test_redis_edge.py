"""redis-py under the lab: it answers and fails as a real server does; and the usual mistakes with locks and keys are found."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.lab.corpus import with_redis
from tests.lab.cut import Cut
from tests.lab.seen import Seen
from troth.lab import Lab

SERVER = shutil.which("redis-server")
with_server = pytest.mark.skipif(SERVER is None, reason="no redis-server on this machine")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis: the path of its socket."""
    folder = tmp_path_factory.mktemp("redis")
    assert SERVER is not None
    command = [SERVER, "--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--dir", str(folder)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"ready to accept" in line.lower():
                break
        yield str(folder / "s")
        process.kill()


# ── as a real server ─────────────────────────────────────────────────────────────────────────────

Program = Callable[[Any], object]


def transaction(r: Any) -> object:
    with r.pipeline() as pipe:
        return pipe.set("a", "1").incr("a").get("a").lpush("a", "x").execute(raise_on_error=False)


def plain_pipeline(r: Any) -> object:
    with r.pipeline(transaction=False) as pipe:
        return pipe.set("a", "1").get("a").execute()


def lock(r: Any) -> object:
    mine, other = r.lock("l", timeout=30), r.lock("l", timeout=30)
    found = [mine.acquire(), other.acquire(blocking=False), mine.locked(), mine.owned()]
    found.append(mine.extend(10))
    mine.release()
    return [*found, other.acquire(blocking_timeout=0.1), r.exists("l")]


PROGRAMS: dict[str, Program] = {
    "text": lambda r: [r.set("a", "1"), r.get("a"), r.get("b"), r.getdel("a"), r.exists("a"), r.delete("a", "b")],
    "conditions": lambda r: [r.set("a", 1, nx=True), r.set("a", 2, nx=True), r.set("b", 1, xx=True), r.set("a", 3, xx=True, get=True), r.get("a")],
    "old words": lambda r: [r.execute_command("SETNX", "a", "1"), r.execute_command("SETNX", "a", "2"), r.execute_command("SETEX", "b", 60, "1"), r.execute_command("PSETEX", "b", 60, "2"), r.unlink("a")],
    "times": lambda r: [r.set("a", 1, ex=60), r.set("a", 2, keepttl=True), r.persist("a"), r.persist("a"), r.ttl("a"), r.ttl("b"), r.expire("a", 60),
                        r.pexpire("b", 5), r.expire("a", -1), r.get("a")],
    "numbers": lambda r: [r.incr("a"), r.incrby("a", 5), r.decr("a"), r.decrby("a", 2), r.get("a")],
    "hashes": lambda r: [r.hset("h", "x", "1"), r.hset("h", mapping={"x": "2", "y": "3"}), r.hsetnx("h", "x", "9"), r.hget("h", "x"), r.hget("h", "z"),
                         r.hincrby("h", "y", 4), r.hgetall("h"), r.hdel("h", "x", "y", "z"), r.exists("h")],
    "sets": lambda r: [r.sadd("s", "x", "y"), r.sadd("s", "y", "z"), r.sismember("s", "x"), sorted(r.smembers("s")), r.srem("s", "x", "q"), r.sismember("s", "x")],
    "lists": lambda r: [r.lpush("q", "1", "2"), r.rpush("q", "3"), r.llen("q"), r.lpop("q"), r.rpop("q"), r.lpop("q"), r.lpop("q"), r.exists("q")],
    "transaction": transaction,
    "plain pipeline": plain_pipeline,
    "lock": lock,
    "wrong kind": lambda r: [r.lpush("q", "1"), r.get("q")],
    "no number": lambda r: [r.set("a", "x"), r.incr("a")],
}  # fmt: skip


def attempted(program: Program, client: Any) -> str:
    """What it came to."""
    try:
        found = program(client)
    except redis.RedisError as error:
        return type(error).__name__
    return repr(found)


@with_server
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_model_answers_as_a_server(lab: Lab, server: str, protocol: int):
    def all_of_them(client: Any) -> list[str]:
        found = []
        for name, program in PROGRAMS.items():
            client.flushall()
            found.append(f"{name}: {attempted(program, client)}")
        return found

    with redis.Redis(unix_socket_path=server, protocol=protocol) as client:
        real = all_of_them(client)
    with Seen() as seen:

        def handler() -> int:
            for one in all_of_them(redis.Redis(protocol=protocol)):
                seen.note(one)
            return 200

        lab.redis()
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=0, overlap=1, expiry=False)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == set(real)


WRITES: dict[str, Program] = {"count": lambda r: r.incr("a"), "take": lambda r: r.set("a", "x", nx=True), "transaction": transaction}  # fmt: skip


def left_behind(client: Any) -> str:
    """What the server has in the end."""
    if client.type("a") == "list":
        return str(client.lrange("a", 0, -1))
    return str(client.get("a"))


@with_server
@pytest.mark.parametrize(
    ("name", "retries"), [("count", 0), ("count", 1), ("take", 1), ("transaction", 1)]
)
def test_a_fault_ends_as_it_ends_for_real(lab: Lab, server: str, name: str, retries: int):
    """Lost before it was done, after it was done, once or for good: what the client says, and what is left in the server."""
    write, real, modelled = WRITES[name], set[tuple[str, str]](), set[str]()

    def options() -> dict[str, Any]:
        return {"retry": Retry(NoBackoff(), retries), "driver_info": None, "protocol": 2}

    with redis.Redis(unix_socket_path=server, decode_responses=True) as seeing, Cut(server) as cut:
        for side in ("nowhere", "before", "after"):
            for down in (False, True):
                seeing.flushall()
                if side != "nowhere":
                    cut.arm(side, refusing=down)
                with redis.Redis(port=cut.port, **options()) as client:
                    told = attempted(write, client)
                cut.accept_again()
                real.add((told, left_behind(seeing)))
    with Seen() as seen:

        def handler() -> int:
            seen.note(attempted(write, redis.Redis(**options())))
            return 200

        def look(w: Any) -> bool:
            modelled.add(str(w.redis["a"]))
            return True

        lab.redis()
        lab.user(handler, again=lambda answer: False)
        lab.at_rest("seen", look)
        verdict = lab.explore(survived=1, overlap=1, expiry=False)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == {told for told, _ in real}
        assert modelled == {left for _, left in real}


@with_server
def test_a_key_runs_out_as_it_does_for_real(lab: Lab, server: str):
    """Then it is not there, and a lock can be taken, and what was kept for longer still is."""
    with redis.Redis(unix_socket_path=server, decode_responses=True) as client:
        client.flushall()
        client.config_set("notify-keyspace-events", "Ex")
        with client.pubsub() as listening:
            listening.subscribe("__keyevent@0__:expired")
            client.set("long", "1", ex=1000)
            client.set("short", "1", px=1)
            heard = (listening.get_message(timeout=30) for _ in range(10))
            assert any(one and one["data"] == "short" for one in heard)
        real = [client.get("long"), client.get("short"), client.set("short", "2", nx=True)]
    assert real == ["1", None, True]
    found: set[tuple[object, ...]] = set()

    def handler() -> int:
        r = redis.Redis()
        r.set("long", "1", ex=1000)
        r.set("short", "1", px=1)
        r.set("longer", "1", ex=2000)
        return 200

    def look(w: Any) -> bool:
        found.add((w.redis["long"], w.redis["short"], w.redis["longer"]))
        return True

    lab.redis()
    lab.user(handler, again=lambda answer: False)
    lab.told(200, "seen", look)
    assert lab.explore(survived=0, overlap=1).closed
    assert {("1", None, "1"), (None, None, "1"), (None, None, None)} <= found
    assert ("1", None, None) not in found, "what was set earlier, for a shorter time, goes first"


def test_real_processes_have_the_same_redis():
    """And one that waits for a lock, which a dead one held, goes on when that has run out."""
    lab = Lab("redis", closer=0)
    with_redis.lock_above_a_constraint(lab)
    verdict = lab.explore(survived=0, in_flight=0)
    assert verdict.word == "HOLDS", str(verdict)


def test_what_the_model_does_not_have_is_refused(lab: Lab):
    def handler() -> int:
        return 200 if redis.Redis().ttl("a") and redis.Redis().zadd("z", {"a": 1}) else 500

    lab.redis()
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore()
    assert verdict.word == "REFUSED", str(verdict)
    assert "the model does not have ZADD" in verdict.reason


def test_a_connection_that_lasts_is_refused(lab: Lab):
    lasting = redis.Redis()

    def handler() -> int:
        connection = lasting.connection_pool.get_connection()
        connection.send_command("INCR", "a")
        return 200 if connection.read_response() else 500

    lasting.connection_pool.get_connection = kept(lasting.connection_pool.get_connection)
    lab.redis()
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert "opened by an earlier attempt" in verdict.reason


def kept(get: Callable[[], Any]) -> Callable[[], Any]:
    """Always the same one."""
    return functools.cache(get)


def test_redis_without_a_model_is_refused(lab: Lab):
    lab.user(lambda: redis.Redis(host="cache.internal").incr("a"))
    lab.always("nothing", lambda w: True)
    verdict = lab.explore()
    assert verdict.word == "REFUSED", str(verdict)
    assert "declare lab.redis()" in verdict.reason
