import pytest

from elasticache_iam_sandbox.world.catalogue import Catalogue


def catalogue(*keys):
    made = Catalogue()
    for key in keys:
        made.add(key, key.upper())
    return made


def test_values_are_in_the_order_of_their_keys():
    assert list(catalogue("b", "c", "a").values()) == ["A", "B", "C"]


def test_pages_follow_each_other_to_the_end():
    items = catalogue("a", "b", "c", "d", "e")

    first, marker = items.page(None, 2)
    second, marker = items.page(marker, 2)
    third, end = items.page(marker, 2)

    assert (first, second, third, end) == (["A", "B"], ["C", "D"], ["E"], None)


def test_a_page_that_is_just_full_is_the_last():
    assert catalogue("a", "b").page(None, 2) == (["A", "B"], None)


def test_what_is_removed_between_two_pages_shifts_nobody():
    items = catalogue("a", "b", "c", "d")
    _, marker = items.page(None, 2)
    items.remove("b")

    assert items.page(marker, 2)[0] == ["C", "D"]


def test_a_foreign_marker_is_refused():
    with pytest.raises(ValueError):
        catalogue("a").page("bm9uc2Vuc2U=", 2)


def test_a_key_cannot_be_added_twice():
    with pytest.raises(ValueError):
        catalogue("a", "a")
