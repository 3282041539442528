"""Reads XML exports of TIA Portal: Openness (SimaticML), and its own tag tables."""

from __future__ import annotations

from gateway.errors import ConfigError, Fault
from gateway.importers.declared import Block, DataType, Declared, Member, Symbol, SymbolTable, Udt
from gateway.importers.files import stop
from gateway.importers.s7map import OPTIMIZED
from gateway.importers.scl import parse_type
from gateway.importers.xmltree import Element

_DATA_BLOCKS = ("SW.Blocks.GlobalDB", "SW.DataBlock")
_TYPES = ("SW.Types.PlcStruct", "SW.ControllerDatatype")
_TABLES = ("SW.Tags.PlcTagTable", "SW.ControllerTagTable")
_TAGS = ("SW.Tags.PlcTag", "SW.ControllerTag")
_REFUSED = {
    "SW.Blocks.InstanceDB": "an instance data block; how the data of its function block lie is not "
    "computed. Copy what you need into a global data block with standard access",
    "SW.Blocks.ArrayDB": "an array data block, which always has optimized access; a global data "
    "block with an array in it can be read",
}


def read_xml(root: Element, into: Declared) -> None:
    """Add all that an XML file declares.

    Raises:
        ConfigError: all that cannot be read; or that there is nothing to be read.
    """
    faults: list[Fault] = []
    found = 0
    faults += [e.place.fault(f"this is {_REFUSED[e.name]}") for e in root.all(*_REFUSED)]
    for element in root.all("SW.Blocks.FB"):
        into.function_blocks.add(element.said("AttributeList", "Name").lower())
    for read, names in ((_udt, _TYPES), (_block, _DATA_BLOCKS), (_tag_table, _TABLES)):
        for element in root.all(*names):
            found += 1
            try:
                read(element, into)
            except ConfigError as error:
                faults += error.faults
    for element in root.all("Tagtable", "TagTable"):
        found += 1
        into.tables.append(_old_table(element))
    if faults:
        raise ConfigError(faults)
    if not found:
        top = root.children[0]
        raise stop(
            top.place,
            f"nothing to import in <{top.name[:40]}>; expected SW.Blocks.GlobalDB, "
            "SW.Types.PlcStruct, SW.Tags.PlcTagTable or Tagtable",
        )
    into.tables = [table for table in into.tables if table.symbols]


# -- blocks and types -------------------------------------------------------------------------


def _block(element: Element, into: Declared) -> None:
    name = element.said("AttributeList", "Name") or "DB"
    number = element.said("AttributeList", "Number")
    block = Block(name, element.place, comment=_comment(element))
    if number.isascii() and number.isdecimal() and len(number) < 6 and int(number):
        block.number = int(number)
    layout = element.said("AttributeList", "MemoryLayout")
    if layout.lower() == "optimized":
        raise stop(element.place, f"the data block '{name}' {OPTIMIZED}")
    block.standard = True if layout.lower() == "standard" else None
    sections = _sections(element)
    for section in sections:
        block.members += _members(section, into)
    if not sections:
        raise stop(element.place, f"the data block '{name}' has no <Sections> with members")
    into.blocks.append(block)


def _udt(element: Element, into: Declared) -> None:
    members: list[Member] = []
    for section in _sections(element):
        members += _members(section, into)
    name = element.said("AttributeList", "Name")
    into.add(Udt(name, members, element.place, _comment(element)))


def _sections(element: Element) -> list[Element]:
    holder = element.child("AttributeList", "Interface", "Sections")
    holder = holder or element.child("Interface", "Sections") or element.child("Sections")
    return [c for c in holder.children if c.name == "Section"] if holder else []


def _members(parent: Element, into: Declared) -> list[Member]:
    """The members of an element. The tree is at most as deep as `xmltree.MAX_DEPTH`."""
    members = []
    for element in parent.children:
        if element.name != "Member":
            continue
        name = element.attributes.get("Name", "")
        text = element.attributes.get("Datatype", "")
        if not name or not text:
            raise stop(element.place, "a <Member> has a Name and a Datatype")
        kind: DataType = parse_type(text, element.place, _members(element, into))
        if kind.named:
            # an export carries the members of a type along with each place that uses it
            inner = [m for section in _sections(element) for m in _members(section, into)]
            if inner:
                into.add(Udt(kind.name, inner, element.place))
        members.append(Member(name, kind, element.place, _member_comment(element)))
    return members


def _member_comment(element: Element) -> str:
    return _first_text(element.child("Comment"), "MultiLanguageText")


def _comment(element: Element) -> str:
    """The comment of a block, type or tag, in the first language that has one."""
    objects = element.child("ObjectList")
    for text in objects.children if objects else ():
        if text.attributes.get("CompositionName") == "Comment":
            return _first_text(text, "Text", "Value")
    return ""


def _first_text(element: Element | None, *names: str) -> str:
    if element is None:
        return ""
    return next((" ".join(e.text.split()) for e in element.all(*names) if e.text.strip()), "")


# -- tag tables -------------------------------------------------------------------------------


def _tag_table(element: Element, into: Declared) -> None:
    symbols = []
    for tag in element.all(*_TAGS):
        kind = tag.said("AttributeList", "DataTypeName")
        kind = kind or tag.said("LinkList", "DataType", "Name")
        address = tag.said("AttributeList", "LogicalAddress")
        name = tag.said("AttributeList", "Name")
        symbols.append(Symbol(name, kind, address, _comment(tag), tag.place))
    into.tables.append(SymbolTable(element.said("AttributeList", "Name") or "tags", symbols))


def _old_table(element: Element) -> SymbolTable:
    symbols = []
    for tag in element.children:
        if tag.name == "Tag":
            get = tag.attributes.get
            name = " ".join(tag.text.split())
            symbols.append(
                Symbol(name, get("type", ""), get("addr", ""), get("remark", ""), tag.place)
            )
    return SymbolTable(element.attributes.get("name", "") or "tags", symbols)
