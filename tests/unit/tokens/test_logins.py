"""When a login that worked is proven again."""

from elasticache_iam.tokens.logins import PROVEN_FOR_S, Proof

DAY_S = 86400.0


def test_a_new_day_asks_for_a_login_again():
    proof = Proof(is_needed=False, day=7, proven_at=0.0)

    proof.begin_day(7, DAY_S)
    assert not proof.is_needed
    proof.begin_day(8, DAY_S)
    assert proof.is_needed


def test_the_first_look_asks_for_nothing():
    proof = Proof(is_needed=False)

    proof.begin_day(7, DAY_S)

    assert not proof.is_needed


def test_a_login_of_a_few_hours_ago_is_enough():
    proof = Proof(is_needed=False, day=7, proven_at=0.0)

    proof.begin_day(8, PROVEN_FOR_S / 2)

    assert not proof.is_needed


def test_a_login_that_keeps_failing_goes_on_as_it_does():
    proof = Proof(is_needed=True, day=7, failed_rounds=3)

    proof.begin_day(8, DAY_S)

    assert proof.failed_rounds == 3
