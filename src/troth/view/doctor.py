"""What is wrong with an installation: each rule is a row of a table, and looks at facts that were read before. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from troth.base.lengths import words
from troth.store.migrate import Status
from troth.store.road import Road
from troth.view.health import Server, SessionLine, Setting, SnapshotLine, TableLine, Weeks
from troth.view.workers import GoneLine, VersionLine, WorkerLine

LEAST_VERSION = 150_000
SKEW_S = 1.0
SILENT_LEASES = 3.0
MOST_USED = 0.8  # of the connections that the server allows
OWN_CONNECTIONS = 6  # that a worker process has beside those of its steps
DEAD_ROWS, DEAD_SHARE = 100_000, 0.5
OLD_SNAPSHOT_S = 600.0
OLD_XIDS = 1_000_000_000
UNRELEASED_S = 60.0
AHEAD_S = 7 * 86_400.0
LONG_S = 180 * 86_400.0
SHORT_TIMEOUT_MS = 10_000


class Severity(StrEnum):
    """How bad a finding is."""

    PROBLEM = "problem"  # a promise does not hold, or something does not work
    WARNING = "warning"  # it works, and will not for ever, or costs more than it must


@dataclass(frozen=True, slots=True)
class Here:
    """What is known of this process. *skew_s*: how far its clock is ahead of the server's, within *error_s*.

    *unknown*: TROTH_ variables that are no settings, and *wrong*: settings that cannot be, in words. *connections* and
    *processes*: what the settings here say.
    """

    skew_s: float = 0.0
    error_s: float = 0.0
    unknown: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    connections: int = 10
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the rules look at. What needs a schema that fits is empty without one.

    *ahead_s*: by how much the latest beat of a worker is ahead of the server's clock, in seconds.
    """

    here: Here
    road: Road
    server: Server
    settings: Mapping[str, Setting]
    migrations: Status
    tables: tuple[TableLine, ...] = ()
    weeks: Weeks | None = None
    sessions: tuple[SessionLine, ...] = ()
    snapshots: tuple[SnapshotLine, ...] = ()
    workers: tuple[WorkerLine, ...] = ()
    gone: tuple[GoneLine, ...] = ()
    versions: tuple[VersionLine, ...] = ()
    ahead_s: float = 0.0

    def setting(self, name: str) -> str:
        """The value of a setting of the server; empty if this server has none of this name."""
        found = self.settings.get(name)
        return "" if found is None else found.value


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. *look* yields a sentence for each thing that it finds; the rest says what that means and what to do."""

    code: str
    severity: Severity
    means: str
    do: str
    command: str
    look: Callable[[Facts], Iterable[str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong: *found* says what; the rest is its rule's."""

    code: str
    severity: Severity
    found: str
    means: str
    do: str
    command: str


def examine(facts: Facts) -> tuple[Finding, ...]:
    """All findings, problems first, in the order of the rules."""
    found = [
        Finding(rule.code, rule.severity, each, rule.means, rule.do, rule.command)
        for rule in RULES
        for each in rule.look(facts)
    ]
    return tuple(sorted(found, key=lambda each: each.severity is not Severity.PROBLEM))


# Looking --------------------------------------------------------------------------------------------------------------


def _variables(facts: Facts) -> Iterator[str]:
    yield from facts.here.wrong
    yield from facts.here.unknown


def _version(facts: Facts) -> Iterator[str]:
    if facts.server.version_number < LEAST_VERSION:
        yield f"the server is PostgreSQL {facts.server.version}"


def _read_only(facts: Facts) -> Iterator[str]:
    if facts.server.standby:
        yield "the server is a standby"
    elif facts.setting("default_transaction_read_only") == "on":
        yield "transactions are read-only by default"


def _schema(facts: Facts) -> Iterator[str]:
    problem = facts.migrations.problem()
    if problem is not None:
        yield str(problem)


def _session(facts: Facts) -> Iterator[str]:
    lost = {
        "settings": facts.road.keeps_settings,
        "advisory locks": facts.road.keeps_locks,
        "prepared statements": facts.road.keeps_prepared,
        "LISTEN": facts.road.hears,
    }
    gone = [what for what, kept in lost.items() if not kept]
    if gone:
        who = "a pooler in transaction mode is" if facts.road.pooler else "something is"
        yield f"{who} between here and the server: sessions lose {', '.join(gone)}"


def _skew(facts: Facts) -> Iterator[str]:
    here = facts.here
    if abs(here.skew_s) - here.error_s > SKEW_S:
        way = "ahead of" if here.skew_s > 0 else "behind"
        yield f"the clock of this machine is {words(abs(here.skew_s))} {way} the server's"


def _backwards(facts: Facts) -> Iterator[str]:
    if facts.ahead_s > SKEW_S:
        yield f"a worker's last beat is {words(facts.ahead_s)} in the future of the server's clock"


def _durable(facts: Facts) -> Iterator[str]:
    for name in ("fsync", "full_page_writes"):
        if facts.setting(name) == "off":
            yield f"{name} is off"
    if facts.setting("zero_damaged_pages") == "on":
        yield "zero_damaged_pages is on"


def _acknowledged(facts: Facts) -> Iterator[str]:
    level = facts.setting("synchronous_commit")
    if level == "off":
        yield "synchronous_commit is off"
    elif level == "local" and facts.setting("synchronous_standby_names"):
        yield "synchronous_commit is local, and there are synchronous standbys"


def _timeouts(facts: Facts) -> Iterator[str]:
    if _ms(facts, "idle_session_timeout"):
        yield f"idle_session_timeout is {words(_ms(facts, 'idle_session_timeout') / 1000)}"
    for name in ("statement_timeout", "transaction_timeout"):
        if 0 < _ms(facts, name) < SHORT_TIMEOUT_MS:
            yield f"{name} is {words(_ms(facts, name) / 1000)}"


def _ms(facts: Facts, name: str) -> int:
    text = facts.setting(name)
    return int(text) if text.isdigit() else 0


def _connections(facts: Facts) -> Iterator[str]:
    server = facts.server
    allowed = server.max_connections - server.reserved
    if server.connections > allowed * MOST_USED:
        yield f"{server.connections} of {allowed} connections are in use"
    alive = sum(each.executes for each in facts.workers)
    processes = max(alive, facts.here.processes)
    wanted = processes * (facts.here.connections + OWN_CONNECTIONS)
    if wanted > allowed:
        yield (
            f"{processes} worker processes may want {wanted} connections (with {facts.here.connections} for steps each),"
            f" and the server allows {allowed}"
        )


def _silent(facts: Facts) -> Iterator[str]:
    for each in facts.workers:
        if each.beat_s > each.lease_s * SILENT_LEASES:
            yield (
                f"worker {each.name} ({each.id}) has been silent for {words(each.beat_s)}, has {each.in_hand}"
                f" {'run' if each.in_hand == 1 else 'runs'} in hand,"
                " and nobody has taken over"
            )


def _unreleased(facts: Facts) -> Iterator[str]:
    for each in facts.gone:
        if each.gone_s > UNRELEASED_S and each.in_hand:
            yield (
                f"worker {each.name} ({each.id}) was found dead {words(each.gone_s)} ago, and {each.in_hand} of its runs"
                f" {'is' if each.in_hand == 1 else 'are'} still held"
            )


def _not_executable(facts: Facts) -> Iterator[str]:
    for each in facts.versions:
        if not each.workers:
            one = each.runs.n == 1
            yield (
                f"{each.runs} {'run' if one else 'runs'} of {each.workflow} {'is' if one else 'are'} alive, and no worker can"
                f" execute {'it' if one else 'them'}"
            )


def _mixed(facts: Facts) -> Iterator[str]:
    alive = [each for each in facts.workers if each.executes]
    wanted = {each.workflow for each in facts.versions}
    for workflow in sorted(wanted & {name for each in alive for name in each.workflows}):
        without = [each for each in alive if workflow not in each.workflows]
        if without:
            yield (
                f"{len(alive) - len(without)} of {len(alive)} workers can execute {workflow};"
                f" {without[0].name} ({without[0].id}) cannot"
            )


def _autovacuum(facts: Facts) -> Iterator[str]:
    for name in ("autovacuum", "track_counts"):
        if facts.setting(name) == "off":
            yield f"{name} is off"
    for each in facts.tables:
        if each.off:
            yield f"autovacuum is off for {each.name}"


def _bloat(facts: Facts) -> Iterator[str]:
    for each in facts.tables:
        if each.dead > DEAD_ROWS and each.dead_share > DEAD_SHARE:
            yield f"{each.name} has {each.dead:,} dead rows and {each.live:,} living ones"


def _idle_in_transaction(facts: Facts) -> Iterator[str]:
    for each in facts.sessions:
        if (each.state or "").startswith("idle in transaction"):
            yield f"{_who(each)} has done nothing in its transaction for {words(each.state_s or 0)}"


def _who(session: SessionLine) -> str:
    names = [f"user {session.user}" if session.user else "", session.application or ""]
    told = ", ".join(filter(None, names))
    return f"session {session.pid}" + (f" ({told})" if told else "")


def _snapshots(facts: Facts) -> Iterator[str]:
    for each in facts.snapshots:
        if each.kind == "replication slot":
            if "nobody reads it" in each.what:
                yield f"the replication slot {each.what} keeps the log, and may keep dead rows"
        elif (each.age_s or 0) > OLD_SNAPSHOT_S:
            yield f"a {each.kind} ({each.what}) is {words(each.age_s or 0)} old"


def _wraparound(facts: Facts) -> Iterator[str]:
    if facts.server.xids > OLD_XIDS:
        yield f"the oldest rows of the database are {facts.server.xids:,} transactions old"


def _room(facts: Facts) -> Iterator[str]:
    weeks = facts.weeks
    if weeks is None or facts.migrations.problem() is not None:
        return
    if not weeks.current:
        yield "there is no partition for runs of this week"
    elif (weeks.ahead_s or 0) < AHEAD_S:
        yield f"there are partitions for {words(max(0.0, weeks.ahead_s or 0))} from now"


def _forgetting(facts: Facts) -> Iterator[str]:
    weeks = facts.weeks
    if weeks and (weeks.oldest_s or 0) > LONG_S and weeks.forgotten_at is None:
        yield f"history goes back {words(weeks.oldest_s or 0)}, and nobody has ever had any of it forgotten"


# The table ------------------------------------------------------------------------------------------------------------

_PROBLEM, _WARNING = Severity.PROBLEM, Severity.WARNING

RULES: tuple[Rule, ...] = (
    Rule(
        "variables", _WARNING,
        "A variable that begins with TROTH_ is no setting, or has a value that cannot be: what somebody meant does not hold.",
        "Correct its name or its value where this process gets its environment.",
        "troth config", _variables,
    ),
    Rule(
        "server-version", _PROBLEM,
        "troth is tested with PostgreSQL 15 and newer; older ones lack what it uses.",
        "Upgrade the server.",
        "psql -c 'SHOW server_version'", _version,
    ),
    Rule(
        "read-only", _PROBLEM,
        "Nothing can be written here: no run starts, and none goes on.",
        "Point the URL to the primary, or give it several hosts and target_session_attrs=read-write.",
        "psql -c 'SELECT pg_is_in_recovery()'", _read_only,
    ),
    Rule(
        "schema", _PROBLEM,
        "Processes of this version refuse to work with this schema.",
        "Do what the finding says, before processes of this version start.",
        "troth db migrate", _schema,
    ),
    Rule(
        "pooler", _PROBLEM,
        "Workers need sessions: they would not hear hints, so that waiting runs wake up late, and what they set is lost or"
        " somebody else's.",
        "Give workers and clients a URL that leads to the server itself, or to a pool in session mode.",
        "troth doctor --database-url postgresql://…", _session,
    ),
    Rule(
        "clock-skew", _WARNING,
        "Runs go by the server's clock, so no promise depends on it. But signatures of webhooks are refused by their time, and"
        " the logs of this machine do not fit the journal.",
        "Let this machine follow a time server.",
        "timedatectl status", _skew,
    ),
    Rule(
        "clock-backwards", _PROBLEM,
        "The server's clock has gone back, or another server has taken over whose clock is behind: waits end late by as much.",
        "Let all servers that may become primary follow a time server.",
        "timedatectl status", _backwards,
    ),
    Rule(
        "not-durable", _PROBLEM,
        "A crash of the server may lose or damage what it has acknowledged. Then no promise of troth holds.",
        "Turn it back: fsync and full_page_writes on, zero_damaged_pages off.",
        "psql -c 'ALTER SYSTEM RESET fsync' -c 'SELECT pg_reload_conf()'", _durable,
    ),
    Rule(
        "not-synchronous", _PROBLEM,
        "A crash may lose the last commits that were acknowledged: an effect may have been sent whose intent is gone.",
        "Set synchronous_commit to on, for the database or for the role of the program.",
        "psql -c 'ALTER ROLE … SET synchronous_commit = on'", _acknowledged,
    ),
    Rule(
        "timeouts", _WARNING,
        "The server ends sessions that only listen, or statements of the journal: workers reconnect again and again, and may"
        " be taken for dead.",
        "Leave these timeouts at 0 for the role of the program; troth has its own.",
        "psql -c 'ALTER ROLE … SET idle_session_timeout = 0'", _timeouts,
    ),
    Rule(
        "connections", _WARNING,
        "When connections run out, steps wait for one, and workers that cannot reach the database give up their runs.",
        "Lower TROTH_CONNECTIONS or the number of processes, or raise max_connections.",
        "troth config", _connections,
    ),
    Rule(
        "silent-worker", _PROBLEM,
        "A process is dead or frozen, and there is no other that could take its runs over: they stand still.",
        "Start a worker: it takes over within its lease.",
        "troth worker MODULE:NAME", _silent,
    ),
    Rule(
        "unreleased-runs", _PROBLEM,
        "The takeover of a dead worker was not finished, and nobody finishes it.",
        "Start a worker: it releases these runs.",
        "troth worker MODULE:NAME", _unreleased,
    ),
    Rule(
        "not-executable", _PROBLEM,
        "These runs stand still until a worker comes whose program has this version of the workflow.",
        "Start workers of that program, or keep the old version in the new program until its runs have ended.",
        "troth run versions", _not_executable,
    ),
    Rule(
        "mixed-versions", _WARNING,
        "Workers of different programs are there. During a deployment that is as it should be; after it, some are left over.",
        "If the deployment is over, stop the workers of the old program.",
        "troth run versions", _mixed,
    ),
    Rule(
        "autovacuum", _PROBLEM,
        "Nobody removes dead rows: the tables of live runs grow without end, and claims become slow.",
        "Turn autovacuum and track_counts on, for the server and for the table.",
        "psql -c 'ALTER SYSTEM RESET autovacuum' -c 'SELECT pg_reload_conf()'", _autovacuum,
    ),
    Rule(
        "bloat", _WARNING,
        "There are more dead rows than living ones: autovacuum is not quick enough, or something keeps it (old-snapshot).",
        "Find what keeps them, then vacuum the table.",
        "psql -c 'VACUUM (VERBOSE, ANALYZE) troth.run'", _bloat,
    ),
    Rule(
        "idle-in-transaction", _WARNING,
        "A session holds locks and a snapshot, and does nothing. Dead rows stay, and retention has to wait.",
        "Find the program that forgot to commit; end the session if it must be.",
        "psql -c 'SELECT pg_terminate_backend(PID)'", _idle_in_transaction,
    ),
    Rule(
        "old-snapshot", _WARNING,
        "No row that died since then can be removed, in any table of the database.",
        "End the transaction; commit or roll back the prepared one; drop a slot that nobody reads.",
        "psql -c 'SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start'", _snapshots,
    ),
    Rule(
        "wraparound", _PROBLEM,
        "At two thousand million the server stops to accept transactions.",
        "Find what keeps VACUUM from freezing rows (old-snapshot), then vacuum the database.",
        "vacuumdb --all --freeze", _wraparound,
    ),
    Rule(
        "no-room", _PROBLEM,
        "Runs of a week that has no partition cannot start. Workers make partitions four weeks ahead, four times a day.",
        "Start a worker, and look into its log for why it could not make them: the role may lack CREATE on the schema.",
        "troth worker MODULE:NAME", _room,
    ),
    Rule(
        "history-grows", _WARNING,
        "History costs no speed, but room, and it may hold what must not be kept for ever.",
        "Decide how long to remember, and let a timer forget the rest.",
        "troth db retain --keep 90d --yes", _forgetting,
    ),
)  # fmt: skip
