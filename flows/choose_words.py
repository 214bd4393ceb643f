"""In which words is a choice told?"""

from __future__ import annotations

from collections.abc import Mapping

QUESTIONS: Mapping[int, str] = {
    1: "which modality?",
    2: "how much representative data, in all and of each class?",
    3: "which fidelity does the use need?",
    4: "what may training and drawing cost, on this machine, and under which licence?",
    5: "which failure can least be afforded?",
}
#: What is said of a failure that is to be avoided.
FAILS: Mapping[str, str] = {
    "diversity": "it can lose kinds of rows without a sign",
    "blur": "what it draws is less sharp than real",
    "slow": "it is slow to draw",
    "instability": "training ends elsewhere with every seed, and at times nowhere",
    "privacy": "parts of real rows can be in what it draws or keeps",
}
#: What is not built, with the reason and what can be done today.
UNBUILT: Mapping[str, str] = {
    "text": (
        "texts are not drawn: sentences that are fit to be published need a pretrained model of language, and there is neither "
        "one here nor a check that could judge them; give the table that belongs to the texts, or features of them"
    ),
    "code": (
        "programs are not drawn: whether code is right is found out by running it, and no check here runs it; use a tool that "
        "runs its tests"
    ),
}
#: What is said of a table whose rows are readings of one series.
AS_ROWS = (
    "its readings are taken as rows that have no order; to keep the order, read them as windows (data.use: series), as "
    "`counterpoise init` writes it"
)
SOURCES: Mapping[str, str] = {
    "data": "from the data",
    "plan": "the plan says so",
    "usual": "as usual; say otherwise under `choose`",
    "machine": "from this machine",
}
USES: Mapping[str, str] = {
    "augment": "plausible enough to stand beside real ones and teach a model",
    "replace": "like real ones as a whole, to stand in their place",
    "photorealistic": "photorealistic, to be looked at",
    "scores": "a model that says how unusual each one is",
}
KINDS: Mapping[str, str] = {"tabular": "a table", "image": "pictures", "series": "windows of series"}
MODALITIES: Mapping[str, str] = {"tabular": "tables", "image": "pictures", "series": "series"}
