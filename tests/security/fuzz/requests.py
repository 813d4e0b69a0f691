"""Generates requests of any method from its descriptor, some of them valid."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

from tests.security.fuzz.mutations import mutate, noise
from tests.security.fuzz.odd_values import odd_count, odd_object, odd_scalar, odd_seconds
from tests.security.methods import Method

_TIMES: Final = ("google.protobuf.Timestamp", "google.protobuf.Duration")
_SHOP_REF: Final = "ShopRef"
_MAX_RECENT_SYNCS: Final = 32
_DISPOSABLE_SHOPS: Final = 16
_PLATFORMS: Final = ("shopify", "woocommerce", "bigcommerce", "feed", "unsupported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Texts and bytes that mean something to the services, by field name."""

    shops: Sequence[Mapping[str, str]]
    """The fields of ShopRef messages."""
    values: Mapping[str, Sequence[Any]]
    recent_syncs: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_RECENT_SYNCS))
    """Ids of syncs, the latest ones started during the run."""

    def without_shops(self) -> Vocabulary:
        """Return the vocabulary for DeleteShop: the shops that the other requests need are not in it."""
        hidden = {"shop_id", "domain", "platform", "sync_id"}
        values = {name: known for name, known in self.values.items() if name not in hidden}
        return Vocabulary(shops=disposable_shops(), values=values)


def disposable_shops() -> list[dict[str, str]]:
    """Return shops that nobody can read and everybody may delete: they keep the database small."""
    names = [(_PLATFORMS[number % len(_PLATFORMS)], f"fuzz{number}") for number in range(_DISPOSABLE_SHOPS)]
    return [
        {"platform": platform, "domain": f"{name}.{'myshopify.com' if platform == 'shopify' else 'example'}"}
        for platform, name in names
    ]


_PYTHON_TYPES: Final[Mapping[int, type | tuple[type, ...]]] = {
    FieldDescriptor.CPPTYPE_STRING: (str, bytes),
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
}
"""Types of values, of other fields than those of integers and enums."""


class RequestGenerator:
    """Generates the bytes of requests: valid, odd, mutated, or noise."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._all = vocabulary
        self._disposable = vocabulary.without_shops()

    def generate(self, random: Random, method: Method) -> bytes:
        """Return the bytes of a request."""
        known = self._disposable if str(method) == "DeleteShop" else self._all
        kind = random.random()
        if kind < 0.1:
            return noise(random)
        oddness = 0.0 if kind < 0.55 else random.choice((0.1, 0.3, 0.8))
        request = method.request_type()
        _Filler(random, known, oddness).fill(request)
        if kind < 0.3:
            _set_one_odd(random, request)
        raw = request.SerializeToString()
        return mutate(random, raw) if kind > 0.75 else raw


def _set_one_odd(random: Random, message: Message) -> None:
    """Make one value odd: the others being valid, it reaches what follows the validation."""
    descriptor: Any = message.DESCRIPTOR
    fields: Sequence[FieldDescriptor] = descriptor.fields
    if not fields:
        return
    one = random.choice(fields)
    if one.is_repeated and one.message_type is None:
        getattr(message, one.name).append(odd_scalar(random, one))
    elif one.message_type is None:
        setattr(message, one.name, odd_scalar(random, one))
    elif not one.is_repeated and one.message_type.full_name not in _TIMES:
        _set_one_odd(random, getattr(message, one.name))
    elif not one.is_repeated:
        getattr(message, one.name).MergeFrom(GetMessageClass(one.message_type)(**odd_seconds(random)))


@dataclass(frozen=True, slots=True)
class _Filler:
    """Fills the fields of a message."""

    random: Random
    known: Vocabulary
    oddness: float
    """The share of values that are odd."""

    def fill(self, message: Message) -> None:
        descriptor: Any = message.DESCRIPTOR
        if descriptor.name == _SHOP_REF and not self._is_odd():
            shop = self.random.choice(self.known.shops)
            names = descriptor.fields_by_name
            for name, value in shop.items():
                if name in names:
                    setattr(message, name, value)
            return
        for one in descriptor.fields:
            if self.random.random() < (0.7 if self._is_odd() else 0.9):
                self._set(message, one)

    def _set(self, message: Message, one: FieldDescriptor) -> None:
        if one.is_repeated:
            count = odd_count(self.random) if self._is_odd() else self.random.randint(1, 2)
            # Of many elements few are different: the number is what counts.
            distinct = [self._value(one) for _ in range(min(count, 5))]
            getattr(message, one.name).extend(distinct[number % 5] for number in range(count))
        elif one.message_type is None:
            setattr(message, one.name, self._value(one))
        else:
            getattr(message, one.name).CopyFrom(self._value(one))

    def _value(self, one: FieldDescriptor) -> Any:
        if one.message_type is not None:
            return self._message(one.message_type)
        if not self._is_odd():
            known = self.known.recent_syncs if one.name == "sync_id" else self.known.values.get(one.name, ())
            # Fields of one name may have different types: ListItems and WatchItems have an after_position.
            if fitting := [value for value in known if isinstance(value, _PYTHON_TYPES.get(one.cpp_type, int))]:
                return self.random.choice(fitting)
            if one.type == FieldDescriptor.TYPE_STRING:
                return ""
        return odd_scalar(self.random, one)

    def _message(self, descriptor: Descriptor) -> Message:
        message = GetMessageClass(descriptor)()
        if isinstance(message, Struct):
            message.update(odd_object(self.random) if self._is_odd() else {"sharpness": 0.5})
            return message
        if descriptor.full_name in _TIMES and self._is_odd():
            return type(message)(**odd_seconds(self.random))
        if descriptor.full_name in _TIMES:
            known = self.known.values[descriptor.name]
            return type(message)(seconds=self.random.choice(known))
        self.fill(message)
        return message

    def _is_odd(self) -> bool:
        return self.random.random() < self.oddness
