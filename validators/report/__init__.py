"""How does a Decision read, to a program (report.json) and to a person (report.html)?"""

from validators.report.write import render_card, render_html, write, write_html, write_json

__all__ = ["render_card", "render_html", "write", "write_html", "write_json"]
