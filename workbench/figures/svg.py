"""A sheet to draw on: boxes, lines and words in the colours of a theme, printed as SVG text."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

from workbench.figures import theme as themes

NAMESPACE = "http://www.w3.org/2000/svg"
ARROWS = ("line-strong", "accent")


@dataclass
class Sheet:
    """Shapes in the order in which they are drawn. y grows downwards; colours are given as roles of the theme."""

    theme: themes.ThemeName
    parts: list[str] = field(default_factory=list)

    def colour(self, role: str) -> str:
        """The colour of a role, `none` for an empty one."""
        return themes.role(role, self.theme) if role else "none"

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str, edge: str = "", radius: float = 6
    ) -> None:
        """A rectangle whose upper left corner is at x, y."""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"'
        self.parts.append(f'<rect {place} fill="{self.colour(fill)}" stroke="{self.colour(edge)}"/>')

    def circle(self, x: float, y: float, radius: float, *, fill: str, edge: str) -> None:
        """A circle about x, y."""
        style = f'fill="{self.colour(fill)}" stroke="{self.colour(edge)}" stroke-width="1.5"'
        self.parts.append(f'<circle cx="{x}" cy="{y:.1f}" r="{radius}" {style}/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        role: str = "text",
        end: bool = False,
        mono: bool = False,
        size: int = 13,
    ) -> None:
        """Words whose baseline starts (or ends) at x, y."""
        family = (themes.MONO if mono else themes.SANS).replace('"', "'")
        style = f'fill="{self.colour(role)}" font-family="{family}" font-size="{size}"'
        anchor = "end" if end else "start"
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style} text-anchor="{anchor}">{html.escape(words)}</text>')

    def line(
        self, *points: tuple[float, float], arrow: bool = False, role: str = "line-strong", width: float = 1.5
    ) -> None:
        """A line through the points, perhaps with an arrow at its end."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        tip = f' marker-end="url(#tip-{role})"' if arrow else ""
        style = f'fill="none" stroke="{self.colour(role)}" stroke-width="{width}"'
        self.parts.append(f'<polyline points="{path}" {style}{tip}/>')

    def svg(self, width: float, height: float) -> str:
        """The whole drawing."""
        tips = "".join(self._tip(role) for role in ARROWS)
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        return f'<svg xmlns="{NAMESPACE}" {size}><defs>{tips}</defs>{"".join(self.parts)}</svg>'

    def _tip(self, role: str) -> str:
        size = 'refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"'
        path = f'<path d="M1 0.5 7 4 1 7.5" fill="none" stroke="{self.colour(role)}" stroke-width="1.4"/>'
        return f'<marker id="tip-{role}" viewBox="0 0 8 8" {size}>{path}</marker>'
