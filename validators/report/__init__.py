"""How does a Decision read, to a program (report.json) and to a person (report.html)? And all of a dataset's?"""

from validators.report.outside import outside, write_outside
from validators.report.write import render_card, render_history, render_html, write, write_html, write_json

__all__ = ["outside", "render_card", "render_history", "render_html", "write", "write_html", "write_json", "write_outside"]
