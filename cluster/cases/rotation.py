"""kubelet rotates a token at four fifths of its life, which takes eight minutes."""

from . import tokens


def run(cluster, report):
    with report.case("kubelet rotates a token of 600 s by its age, and the pod gets credentials for the new one"):
        tokens.rotate(cluster, "aged", lambda: None, tokens.LIFETIME)
