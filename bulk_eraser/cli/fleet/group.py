"""The commands of `bulk-eraser fleet`, each imported when it is asked for."""

from bulk_eraser.cli.terminal.help_page import CommandGroup

__all__ = ["COMMANDS", "fleet"]

COMMANDS = {
    "check": "Read the inputs of all clusters and report what is in them. Sends nothing.",
    "run": "Create removal jobs in all clusters, side by side. Run it again to continue.",
    "follow": "Ask for the status of every job that is due, in all clusters.",
    "status": "Say at a glance what became of everybody in each cluster. Sends nothing.",
    "report": "Write the evidence of each cluster for people. Sends nothing.",
    "verify": "Prove that the ledgers of all clusters are unchanged. Sends nothing.",
}
EXAMPLES = (
    ("Read all inputs and report what is in them", "bulk-eraser fleet check fleet.toml"),
    ("Create the removal jobs in all clusters", "bulk-eraser fleet run fleet.toml"),
    ("On each of the days after: who is erased by now?", "bulk-eraser fleet follow fleet.toml"),
)

fleet = CommandGroup(
    "fleet",
    commands=COMMANDS,
    package="bulk_eraser.cli.fleet",
    examples=EXAMPLES,
    help="""Check, run and follow erasures in many clusters, as FLEET.toml names them.

    Each cluster has its own input, API key, pace and ledger, and what stops one touches no other.
    The commands are those for a single cluster; docs/fleet.md shows a file.
    """,
)
