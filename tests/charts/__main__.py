"""Writes what of the chart is made from something else."""

from tests.charts import made


def main() -> None:
    """In this order: the README's table reads the schema's sources, not the schema."""
    copies = made.crd_copies()
    for path in (made.CHART / "crds").glob("*"):
        if path.name not in copies:
            path.unlink()
    for name, text in copies.items():
        (made.CHART / "crds" / name).write_text(text, encoding="utf-8")
    (made.CHART / "values.schema.json").write_text(made.values_schema(), encoding="utf-8")
    (made.CHART / "README.md").write_text(made.readme(), encoding="utf-8")


if __name__ == "__main__":
    main()
