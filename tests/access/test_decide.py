"""What the policies say; and that whatever goes wrong is a no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.access.conftest import POLICIES, SCHEMA, make
from troth.access import Because, Principal, Ref, Resource
from troth.access.explain import explain
from troth.access.model import Recorded
from troth.base import codec
from troth.base.errors import UsageError

ADA = Principal("Person", "ada", tenant="acme")
BOB = Principal("Person", "bob", tenant="other")
STAFF = Principal("Person", "sue", groups=("staff",))


def account(*, tenant="acme", frozen=False, **more):
    return Resource("Account", "a1", {"tenant": Ref("Tenant", tenant), "frozen": frozen, **more})


def ask(principal, action="Account::read", resource=None, context=None, **options):
    return make("troth", **options).evaluate(
        principal, action, resource or account(), context or {}
    )


@pytest.mark.parametrize(
    ("principal", "action", "resource", "context", "because", "policies"),
    [
        (ADA, "Account::read", account(), {}, "permit", ("tenant-reads",)),
        (BOB, "Account::read", account(), {}, "default", ()),
        (ADA, "Account::close", account(), {}, "default", ()),
        (ADA, "Plan::change", account(), {"seats": 100}, "permit", ("tenant-changes-plan",)),
        (ADA, "Plan::change", account(), {"seats": 101}, "default", ()),
        (ADA, "Plan::change", account(frozen=True), {"seats": 1}, "forbid", ("frozen-stays",)),
        (ADA, "Account::read", account(frozen=True), {}, "permit", ("tenant-reads",)),
        (STAFF, "Account::close", account(), {}, "permit", ("staff-does-all",)),
        (STAFF, "Account::close", account(frozen=True), {}, "forbid", ("frozen-stays",)),
        (Principal("Person", "nobody"), "Account::read", account(), {}, "default", ()),
    ],
)  # fmt: skip
def test_the_policies_decide(principal, action, resource, context, because, policies):
    decision = ask(principal, action, resource, context)
    assert (decision.because.value, decision.policies) == (because, policies)
    assert decision.allowed is (because == "permit")


@pytest.mark.parametrize("name", ["tenant-reads", "staff-does-all", "frozen-stays"])
def test_each_policy_matters(name):
    """Without it, at least one of the answers above is another: no policy is there for nothing."""
    others = [each for each in POLICIES.split("@id") if not each.startswith(f'("{name}")')]
    text = "@id".join(others)
    assert name not in text
    asked = [(ADA, "Account::read", account()), (STAFF, "Account::close", account()),
             (STAFF, "Account::close", account(frozen=True))]  # fmt: skip
    before = [ask(*each).allowed for each in asked]
    assert before == [True, True, False]
    assert [ask(*each, policies=text).allowed for each in asked] != before


def test_a_forbid_that_cannot_be_evaluated_forbids():
    """Cedar skips it, and would say yes. Integer overflow is an error that no schema can exclude."""
    forbids = 'forbid (principal, action == App::Action::"Plan::change", resource)'
    text = f'{POLICIES}\n@id("odd") {forbids} when {{ context.seats * 9223372036854775807 == 0 }};'
    decision = ask(ADA, "Plan::change", context={"seats": 2}, policies=text)
    assert decision.because is Because.ERROR
    assert not decision.allowed
    assert decision.policies == ("tenant-changes-plan",)
    assert "odd" in decision.errors[0]


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("Account::nothing", account(), {}),
        ("Account::read", Resource("Account", "a1", {"tenant": Ref("Tenant", "acme")}), {}),
        ("Account::read", account(colour="red"), {}),
        ("Account::read", Resource("Nothing", "a1"), {}),
        ("Account::read", Resource("not a type!", "a1"), {}),
        ("Plan::change", account(), {}),
        ("Plan::change", account(), {"seats": "many"}),
        ("Plan::change", account(), {"seats": 2**70}),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_an_error_and_a_no(action, resource, context):
    decision = ask(STAFF, action, resource, context)
    assert decision.because is Because.ERROR
    assert decision.errors


@given(st.text(), st.text(), st.text())
def test_strange_names_are_only_names(person, action, resource):
    decision = ask(
        Principal("Person", person), action, Resource("Account", resource, account().attributes)
    )
    assert not decision.allowed


def test_who_acts_on_themselves_is_known_by_what_we_know_of_them():
    person = Principal("Person", "ada", tenant="acme")
    claimed = Resource("Person", "ada", {"tenant": Ref("Tenant", "other")})
    inputs = codec.decode(ask(person, "Account::read", claimed).inputs)
    (entity,) = inputs["entities"]
    assert entity["attrs"]["tenant"] == {"__entity": {"type": "App::Tenant", "id": "acme"}}


# Scopes of keys -------------------------------------------------------------------------------------------------------


def test_no_policy_permits_what_is_outside_of_a_keys_scopes():
    reader = Principal("Machine", "m", tenant="acme", scopes=("Account::read",))
    assert ask(reader).allowed
    everything = "permit (principal, action, resource);"
    decision = ask(reader, "Account::close", policies=everything)
    assert decision.because is Because.SCOPE
    assert ask(
        Principal("Machine", "m", scopes=("*",)), "Account::close", policies=everything
    ).allowed


# What is recorded -----------------------------------------------------------------------------------------------------


def test_private_attributes_decide_and_are_not_recorded():
    forbids = 'forbid (principal, action == App::Action::"Plan::change", resource)'
    text = f'{POLICIES}\n{forbids} unless {{ context has pin && context.pin == "1234" }};'
    private = ("Account.iban", "context.pin")
    given_pin = {"seats": 1, "pin": "1234"}
    resource = account(iban="DE02120300000000202051")
    decision = ask(ADA, "Plan::change", resource, given_pin, policies=text, private=private)
    assert decision.allowed
    assert b"1234" not in decision.inputs
    assert b"DE02" not in decision.inputs
    assert codec.decode(decision.inputs)["withheld"] == ["App::Account.iban", "context.pin"]
    assert decision.digest == codec.digest(decision.inputs)


def test_an_error_does_not_quote_what_is_private():
    decision = ask(
        ADA, "Plan::change", account(iban=123456789), {"seats": 1}, private=("Account.iban",)
    )
    assert decision.because is Because.ERROR
    assert "123456789" not in " ".join(decision.errors)


def test_values_that_cedar_does_not_have_are_the_callers_fault():
    with pytest.raises(UsageError, match=r"Account::a1\.frozen: Cedar has no float"):
        ask(ADA, resource=account(frozen=0.5))


# Why ------------------------------------------------------------------------------------------------------------------


def why(decision, text=POLICIES):
    return explain(
        Recorded(
            decision.id,
            None,
            decision.principal.ref,
            decision.action,
            decision.resource.ref,
            decision.because,
            decision.policies,
            decision.errors,
            decision.inputs,
            decision.digest,
            text,
            SCHEMA,
        )
    )


def test_a_permit_is_explained_by_the_policy_that_permits():
    told = why(ask(ADA))
    (policy,) = told.decided
    assert (policy.id, policy.line, policy.reads) == (
        "tenant-reads", 2, ("principal.tenant", "resource.tenant"),
    )  # fmt: skip
    assert policy.text.startswith('@id("tenant-reads")')


def test_a_denial_names_what_came_near_and_what_it_lacks():
    told = why(ask(ADA, "Plan::change", context={"seats": 101}))
    assert told.decided == ()
    assert [(each.policy.id, each.unmet) for each in told.near] == [
        ("tenant-changes-plan", ("when (context.seats) <= 100",))
    ]
    assert told.far == (("tenant-reads", ("action",)), ("staff-does-all", ("principal",)))


def test_a_forbid_is_explained_with_what_would_permit_otherwise():
    told = why(ask(ADA, "Plan::change", account(frozen=True), {"seats": 1}))
    assert [each.id for each in told.decided] == ["frozen-stays"]
    assert [(each.policy.id, each.unmet) for each in told.near] == [("tenant-changes-plan", ())]


def test_what_was_withheld_is_unknown_not_invented():
    permits = 'permit (principal, action == App::Action::"Plan::change", resource)'
    text = permits + ' when { context has pin && context.pin == "1" && context.seats < 5 };'
    decision = ask(
        ADA,
        "Plan::change",
        context={"seats": 9, "pin": "2"},
        policies=text,
        private=("context.pin",),
    )
    (near,) = why(decision, text).near
    assert len(near.unmet) == 1
    assert "seats" in near.unmet[0]
    assert len(near.unknown) == 1
    assert "pin" in near.unknown[0]
