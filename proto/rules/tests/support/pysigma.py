"""Converts each rule to SQLite by pySigma and says which of its events the queries find.

Reads a JSON object per line, {"rule": text of a rule, "events": [{field: value}]}; the field without a name is the text of the event.
Writes a JSON object per line, {"hits": [numbers of events]} or {"refused": why}. With "correlation": true, events have their time in
seconds as "time", and the hits are the times at which a correlation is complete. Ends with 77 where pySigma or its backend is missing.
"""

import json
import re
import sqlite3
import sys

try:
    from sigma.backends.sqlite import sqliteBackend
    from sigma.collection import SigmaCollection
    from sigma.exceptions import SigmaError
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

NUMBER, TEXT = "number of the event", "text of the event"


def name(column):
    return '"' + column.replace('"', '""') + '"'


def search(pattern, value):
    return value is not None and re.search(pattern, str(value)) is not None


def hits(rule, events, correlation):
    backend = sqliteBackend(fulltext_field=TEXT, timestamp_field="time", timestamp_format="unix")
    queries = backend.convert(SigmaCollection.from_yaml(rule))
    events = [{field or TEXT: value for field, value in event.items()} for event in events]
    fields = {field: None for event in events for field in event} | {TEXT: None}
    for field in re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", " ".join(queries)):
        # A field that no event has is a column without values; correlations have names of their own for rows.
        if not correlation:
            fields.setdefault(field, None)
    seen, columns = set(), []
    for field in fields:
        if field.lower() not in seen:
            columns.append(field)
        seen.add(field.lower())
    database = sqlite3.connect(":memory:")
    database.create_function("REGEXP", 2, search, deterministic=True)
    # As the backend wants it: equality without regard to case, of letters in ASCII.
    database.execute(f"CREATE TABLE logs ({name(NUMBER)}, {', '.join(name(field) + ' COLLATE NOCASE' for field in columns)})")
    rows = [[number] + [event.get(field) for field in columns] for number, event in enumerate(events)]
    database.executemany(f"INSERT INTO logs VALUES ({', '.join('?' * (len(columns) + 1))})", rows)
    # Of an event its number, of a correlation the time that stands behind its id and its group.
    column = 2 if correlation else 0
    # Rules that it does not wait for are rules of their own.
    queries = [query for query in queries if not correlation or "alert_id" in query]
    return sorted({int(row[column]) for query in queries for row in database.execute(query)})


for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"hits": hits(asked["rule"], asked["events"], asked.get("correlation", False))}
    except (SigmaError, sqlite3.Error) as error:
        answer = {"refused": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
