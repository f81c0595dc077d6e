import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox import streams
from connectors.sandbox.market import list_coins
from connectors.sandbox.streams import Session, TooManyStreamsError, decimal, kline_stream


def ask(session: Session, **message: Any) -> Any:
    return json.loads(session.handle(json.dumps(message)))


def test_subscribe_list_and_unsubscribe() -> None:
    session = Session(["btcusdt@trade"], combined=True)
    assert ask(session, method="SUBSCRIBE", params=["a@trade", "a@trade", "nobody@nothing"], id=1) == {
        "result": None,
        "id": 1,
    }
    assert ask(session, method="UNSUBSCRIBE", params=["btcusdt@trade", "never"], id="two") == {
        "result": None,
        "id": "two",
    }
    assert ask(session, method="LIST_SUBSCRIPTIONS", id=None) == {"result": ["a@trade", "nobody@nothing"], "id": None}


def test_the_property_combined_can_be_read_and_set() -> None:
    session = Session([], combined=False)
    assert ask(session, method="GET_PROPERTY", params=["combined"], id=1)["result"] is False
    assert ask(session, method="SET_PROPERTY", params=["combined", True], id=2) == {"result": None, "id": 2}
    assert session.combined


@pytest.mark.parametrize(
    ("message", "code", "part"),
    [
        ({"method": "SUBSCRIBE", "params": []}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["a"], "id": 1.5}, 2, "request ID"),
        ({"method": "SUBSCRIBE", "params": ["a"], "id": True}, 2, "request ID"),
        ({"method": "SUBSCRIBE", "params": ["a"], "id": "x" * 37}, 2, "request ID"),
        ({"method": "SUBSCRIBE", "params": "a", "id": 1}, 2, "expected a sequence"),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2, "sequence of strings"),
        ({"method": "SUBSCRIB", "params": ["a"], "id": 1}, 2, "unknown variant `SUBSCRIB`"),
        ({"params": ["a"], "id": 1}, 2, "missing field `method`"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "expected Boolean"),
        ({"method": "SET_PROPERTY", "params": ["other", True], "id": 1}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": [True], "id": 1}, 2, "property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1}, 2, "too many parameters"),
    ],
)
def test_requests_with_a_fault_get_the_documented_error(message: dict[str, Any], code: int, part: str) -> None:
    answer = ask(Session([], combined=True), **message)
    assert answer["code"] == code
    assert part in answer["msg"]


@settings(deadline=None)
@given(st.text())
def test_any_text_gets_an_answer_in_json(text: str) -> None:
    answer = json.loads(Session([], combined=True).handle(text))
    assert "code" in answer


def test_what_is_no_json_names_its_place() -> None:
    answer = json.loads(Session([], combined=True).handle('{"method":'))
    assert answer == {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 11"}


def test_more_than_1024_streams_are_too_many() -> None:
    names = [f"s{k}@trade" for k in range(1025)]
    with pytest.raises(TooManyStreamsError):
        Session(names, combined=True)
    session = Session(names[:1000], combined=True)
    assert ask(session, method="SUBSCRIBE", params=names[:1024], id=1)["result"] is None
    with pytest.raises(TooManyStreamsError):
        ask(session, method="SUBSCRIBE", params=names[1024:], id=2)


@settings(deadline=None)
@given(st.integers(0, 10**16), st.integers(0, 8))
def test_decimals_are_exact(value: int, decimals: int) -> None:
    text = decimal(value, decimals)
    whole, fraction = text.split(".")
    assert len(fraction) == 8
    assert int(whole + fraction) == value * 10 ** (8 - decimals)


def test_quote_volumes_are_cut_to_eight_places() -> None:
    assert decimal(123_456_789_012, 10) == "12.34567890"


def test_names_of_kline_streams() -> None:
    assert kline_stream("btcusdt@kline_1m") == ("BTCUSDT", "1m")
    assert kline_stream("btcusdt@kline_7m") is None
    assert kline_stream("btcusdt@trade") is None
    assert kline_stream("btcusdt@1m") is None


def test_events_have_the_documented_fields() -> None:
    coin = list_coins(40)[0]
    trade = json.loads(streams.trade(coin, 5, 1700000000123, 640001, 12, maker=True))
    assert trade == {
        "e": "trade", "E": 1700000000123, "s": "BTCUSDT", "t": 5, "p": "64000.10000000", "q": "0.00012000",
        "T": 1700000000123, "m": True, "M": True,
    }  # fmt: skip
    agg = json.loads(streams.agg_trade(coin, 5, 1700000000123, 640001, 12, maker=False))
    assert (agg["e"], agg["a"], agg["f"], agg["l"], agg["m"]) == ("aggTrade", 5, 5, 5, False)
