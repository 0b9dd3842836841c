"""What can go wrong between troth and its database, before any work is done in it."""

from troth.base.errors import TrothError


class StoreError(TrothError):
    """The database, or what troth keeps in it, is not as it must be."""


class DatabaseUnavailable(StoreError):
    """No usable connection: a bad URL, nobody listening, credentials refused, no embedded server."""


class SchemaError(StoreError):
    """The schema in the database and the migrations of this version of troth do not agree."""


class SchemaMissing(SchemaError):
    """The schema was never migrated."""


class SchemaBehind(SchemaError):
    """Migrations of this version have not been applied yet."""


class SchemaAhead(SchemaError):
    """The schema was migrated by a newer version of troth than this one."""


class SchemaChanged(SchemaError):
    """A migration was applied with another text than this version of troth has."""


class MigrationFailed(SchemaError):
    """A migration could not be applied; its transaction was rolled back, so nothing of it remains."""


class UnknownStatement(StoreError):
    """A statement was asked for by a name that its file does not have: a bug in the caller."""


class SchemaNameInvalid(StoreError, ValueError):
    """The name cannot be that of a schema."""
