"""Markdown of the services, messages and enums of `proto/`, with their comments: `docs/grpc.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

HEAD = """# gRPC reference

Generated from [`proto/`](../proto/steno/v1) by `make generate`. [Writing a client](streaming.md) says how these calls
are used, and lists the [error codes](streaming.md#error-codes) that calls end with.
"""

_Comments = Mapping[tuple[int, ...], str]
# Field numbers of FileDescriptorProto and what is in it, of which the paths of comments consist.
_MESSAGES, _ENUMS, _SERVICES, _PARTS = 4, 5, 6, 2


def reference(files: FileDescriptorSet, names: Iterable[str]) -> str:
    """Return the reference of some files.

    Args:
        files: what protoc writes with `--include_source_info`.
        names: of the files to describe, in this order.
    """
    by_name = {file.name: file for file in files.file}
    return HEAD + "".join(_file(by_name[name]) for name in names)


def _file(file: FileDescriptorProto) -> str:
    comments = {tuple(place.path): _text(place.leading_comments) for place in file.source_code_info.location}
    parts = [_service(each, file.package, (_SERVICES, index), comments) for index, each in enumerate(file.service)]
    parts += [_message(each, (_MESSAGES, index), comments) for index, each in enumerate(file.message_type)]
    parts += [_enum(each, (_ENUMS, index), comments) for index, each in enumerate(file.enum_type)]
    return "".join(parts)


def _service(service: ServiceDescriptorProto, package: str, path: tuple[int, ...], comments: _Comments) -> str:
    rows = [
        (
            f"`{method.name}`",
            _link(method.input_type, stream=method.client_streaming),
            _link(method.output_type, stream=method.server_streaming),
            comments.get((*path, _PARTS, index), ""),
        )
        for index, method in enumerate(service.method)
    ]
    title = f"\n## `{package}.{service.name}`\n\n{_paragraph(path, comments)}"
    return title + _table(("call", "request", "response", ""), rows)


def _message(message: DescriptorProto, path: tuple[int, ...], comments: _Comments) -> str:
    rows = [
        (f"`{field.name}`", str(field.number), _type(message, field), comments.get((*path, _PARTS, index), ""))
        for index, field in enumerate(message.field)
    ]
    return f"\n### {message.name}\n\n{_paragraph(path, comments)}" + _table(("field", "number", "type", ""), rows)


def _enum(enum: EnumDescriptorProto, path: tuple[int, ...], comments: _Comments) -> str:
    rows = [
        (f"`{value.name}`", str(value.number), comments.get((*path, _PARTS, index), ""))
        for index, value in enumerate(enum.value)
    ]
    return f"\n### {enum.name}\n\n{_paragraph(path, comments)}" + _table(("value", "number", ""), rows)


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    name = (
        _link(field.type_name)
        if field.type_name
        else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _link(type_name: str, *, stream: bool = False) -> str:
    name = type_name.rpartition(".")[2]
    return f"{'stream of ' if stream else ''}[{name}](#{name.lower()})"


def _paragraph(path: tuple[int, ...], comments: _Comments) -> str:
    text = comments.get(path, "")
    return f"{text}\n\n" if text else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(comment: str) -> str:
    """Return a comment as one line: a table has no others."""
    return " ".join(comment.split()).replace("|", "\\|")
