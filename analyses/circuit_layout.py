"""Where the nodes of a residual graph write and read in the forward pass."""

from __future__ import annotations

from analyses.circuit import EMBED, Graph
from hooks.edge_layout import Layout, Readers, Writers
from hooks.sites import Part, Site


def layout_of(graph: Graph) -> Layout:
    """Where a graph's nodes write and read in the forward pass."""
    info = graph.info
    writers = [Writers(Site("resid_pre", 0), graph.node_index[EMBED], 1)]
    for text, place in graph.node_index.items():
        site = Part.parse(text).site
        if text in graph.writers and site.name != EMBED and (not writers or writers[-1].site != site):
            count = info.n_heads if site.name == "z" else 1
            writers.append(Writers(site, place, count))
    readers: list[Readers] = []
    for place, reader in enumerate(graph.readers):
        layer = Part.parse(reader.target).site.layer
        name = reader.channel if reader.channel != "in" else "mlp_in" if layer is not None else "resid_post"
        site = Site(name, info.n_layers - 1 if layer is None else layer)
        if not readers or readers[-1].site != site:
            readers.append(Readers(site, place, 0))
        readers[-1] = Readers(site, readers[-1].first, readers[-1].count + 1)
    heard = tuple(int(count) for count in graph.heard)
    return Layout(tuple(writers), tuple(readers), heard, info.n_heads, info.group)
