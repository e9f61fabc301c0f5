"""Answers held against the shapes of botocore's service models."""

from typing import Any


def check(client: Any, operation: str, answer: Any) -> None:
    """Hold an answer against the service model: its fields, and those it must have."""
    given = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    _check(client.meta.service_model.operation_model(operation).output_shape, given, operation)


def _check(shape: Any, value: Any, where: str) -> None:
    if shape.type_name == "structure":
        assert set(value) <= set(shape.members), where
        assert set(shape.required_members) <= set(value), where
        for name, one in value.items():
            _check(shape.members[name], one, f"{where}.{name}")
    elif shape.type_name == "list":
        for one in value:
            _check(shape.member, one, where)
    elif shape.type_name == "map":
        for key, one in value.items():
            _check(shape.key, key, where)
            _check(shape.value, one, f"{where}.{key}")
    else:
        assert type(value) in JSON_TYPES[shape.type_name], f"{where}: {value!r}"
        assert not getattr(shape, "enum", []) or value in shape.enum, f"{where}: {value}"


JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "boolean": (bool,),
}
