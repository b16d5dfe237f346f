"""Objects of a catalogue with their images, as pairs: each object that is far away, and how bright its image is.

python sloan.py                                   brings its own stand-in survey
python sloan.py --url http://127.0.0.1:8472       of one that runs
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Annotated

from sky import serving

import vagus
from vagus.feeds import Choice, Feed, Item, Record, all_, base, field, lines, once, one_of


class Header(Record, layout="objid,{columns}"):
    """The catalogue's first line."""

    columns: str


class Object(Record, layout="{objid},{ra},{dec},{redshift},{kind}"):
    """A row of the catalogue."""

    objid: int
    ra: float
    dec: float = field(min=-90, max=90)
    redshift: float = field(min=0)
    kind: Annotated[str, Choice(("GALAXY", "STAR", "QSO"))]


class Image(Record, layout="P5 {width} {height} {depth}\n{pixels}"):
    """A portable graymap: text, then a byte for each pixel."""

    width: int
    height: int
    depth: int
    pixels: bytes


def pictured(url: str, redshift: float) -> Feed[tuple[Object, Image]]:
    """Each object beyond a redshift with its image."""

    def picture(one: Object) -> Feed[tuple[Object, Image]]:
        image = base(all_(f"{url}/images/{one.objid}.pgm"), once("60s"), Image)
        return image.map(lambda found: (one, found))

    catalogue = base(all_(f"{url}/catalogue.csv"), once("60s"), lines(one_of(Header, Object)))
    far = catalogue.flatten().where(Object, failed="drop").where(lambda one: one.redshift > redshift)
    return far.foreach(picture).named("pictured")


def line(item: Item[tuple[Object, Image]]) -> str:
    """A pair in words."""
    if item.value is None:
        return f"{item.meta.location.rpartition('/')[2]}: {item.meta.net.value} {item.meta.note}"
    one, image = item.value
    return f"{one.objid} {one.kind} z={one.redshift}: {image.width}x{image.height}, mean {sum(image.pixels) / len(image.pixels):.1f}"


def main() -> None:
    """Prints a line for each pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="")
    parser.add_argument("--redshift", type=float, default=2.0)
    given = parser.parse_args()
    with nullcontext(given.url) if given.url else serving(0) as url:
        for text in sorted(map(line, vagus.stream(pictured(url, given.redshift)))):
            print(text)


if __name__ == "__main__":
    main()
