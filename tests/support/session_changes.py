"""What a request may leave on its session."""

from __future__ import annotations

from pymysql.constants import CLIENT

from .session_change import attempt
from .session_change import error
from .session_change import fails
from .session_change import MARIADB
from .session_change import MYSQL
from .session_change import named_lock
from .session_change import next_transaction
from .session_change import profiles
from .session_change import sees_changes
from .session_change import SessionChange
from .session_change import variables

A = "SELECT @a"
USER_VARIABLES = [
    ("set", "SET @a = 1"),
    ("lower case", "set @a = 1"),
    ("assigned", "SELECT @a := 1"),
    ("assigned in parentheses", "(SELECT @a := 1)"),
    ("assigned in WITH", "WITH x AS (SELECT 1) SELECT @a := 1 FROM x"),
    ("assigned in UPDATE", "UPDATE t SET n = (@a := 1) WHERE id = 1"),
    ("into", "SELECT 1 INTO @a"),
    ("into, lower case", "select 1 into @a"),
    ("into after a number", "SELECT 1.5INTO @a"),
    ("into after a #", "SELECT 1 INTO # here\n@a"),
    ("into after a --", "SELECT 1 INTO -- here\n\t@a"),
    ("into after a comment", "SELECT 1 INTO /* here */ @a"),
    ("into in a comment", "SELECT 1 /*!50000 INTO @a */"),
    ("into between comments", "/* x */ SELECT 1 INTO @a /* y */"),
    ("into behind what is no comment", "SELECT '/*' INTO @a -- */"),
    ("set in a comment", "/*!50000 SET @a = 1 */"),
    ("set after a comment", "/* x */ SET @a = 1"),
    ("set after a --", "-- x\nSET @a = 1"),
    ("set after a #", "# x\nSET @a = 1"),
    ("set by a procedure", "CALL p_set()"),
    ("into by a procedure", "CALL p_into()"),
    ("set by a trigger", "INSERT INTO triggering VALUES (1)"),
]
FUNCTIONS = [
    SessionChange("f: set", ("SELECT f_set()",), A, unseen=("mysql autocommit",)),
    SessionChange("f: into", ("SELECT f_into()",), A, unseen=(MARIADB, MYSQL)),
    *(
        SessionChange(f"{name}: @a := 1", (sql,), A, MARIADB, unseen=(MARIADB,))
        for name, sql in (
            ("f", "SELECT f_assign()"),
            ("f, with DO", "SELECT f_do()"),
            ("trigger", "INSERT INTO assigning VALUES (1)"),
        )
    ),
    SessionChange(
        "trigger: into",
        ("INSERT INTO selecting VALUES (1)",),
        A,
        MARIADB,
        unseen=(MARIADB,),
    ),
    SessionChange(
        "f: variable",
        ("SELECT f_variable()",),
        "SELECT @@group_concat_max_len",
        unseen=("mysql autocommit",),
    ),
    SessionChange(
        "f: lock", ("SELECT f_named()",), named_lock, unseen=(MARIADB, MYSQL)
    ),
    *(
        SessionChange(f"{name}: lock", (sql,), named_lock, unseen=(MARIADB, MYSQL))
        for name, sql in (
            ("trigger", "INSERT INTO locking VALUES (1)"),
            ("view", "SELECT * FROM locked"),
        )
    ),
    SessionChange(
        "f: role",
        ("SELECT f_role()",),
        "SELECT CURRENT_ROLE()",
        unseen=(MYSQL,),
    ),
    SessionChange(
        "f: turns the tracking off",
        ("SELECT f_blind()",),
        A,
        unseen=("mysql autocommit",),
    ),
    SessionChange("f: fails", ("SELECT f_fail()",), A, fails=(1644,)),
    SessionChange(
        "f: set, then another statement", ("SELECT f_set()", "UPDATE t SET n = 1"), A
    ),
]
COMPOUND = "BEGIN NOT ATOMIC {}; END"
MANY = {"client_flag": CLIENT.MULTI_STATEMENTS}
VARIABLES = [
    *(SessionChange(f"@a: {name}", (sql,), A) for name, sql in USER_VARIABLES),
    SessionChange("@a: prepared", ("PREPARE s FROM 'SET @a = 1'", "EXECUTE s"), A),
    SessionChange("@a: at once", ("EXECUTE IMMEDIATE 'SET @a = 1'",), A, MARIADB),
    SessionChange("@a: compound", (COMPOUND.format("SET @a = 1"),), A, MARIADB),
    SessionChange(
        "@a: compound into", (COMPOUND.format("SELECT 1 INTO @a"),), A, MARIADB
    ),
    SessionChange("@a: compound call", (COMPOUND.format("CALL p_into()"),), A, MARIADB),
    SessionChange(
        "@a: explain into", ("EXPLAIN FORMAT=JSON INTO @a SELECT 1",), A, MYSQL
    ),
    SessionChange("@a: many", ("SELECT 1; SET @a = 1",), A, settings=MANY),
    SessionChange("@a: many, into", ("SELECT 1; CALL p_into()",), A, settings=MANY),
    SessionChange(
        "@a: untracked", ("SET session_track_state_change = 0", "SET @a = 1"), A
    ),
    SessionChange("sql_mode", ("SET sql_mode = ''",), "SELECT @@sql_mode"),
    SessionChange(
        "variable by a procedure",
        ("CALL p_variable()",),
        "SELECT @@group_concat_max_len",
    ),
    SessionChange("time_zone", ("SET time_zone = '+05:00'",), "SELECT @@time_zone"),
    SessionChange("timestamp", ("SET timestamp = 1",), "SELECT YEAR(NOW())"),
    SessionChange(
        "foreign_key_checks",
        ("SET foreign_key_checks = 0",),
        "SELECT @@foreign_key_checks",
    ),
    *(
        SessionChange(name, (step,), "SELECT @@autocommit", autocommit=modes)
        for name, step, modes in (
            ("autocommit off", "SET autocommit = 0", (True,)),
            ("autocommit on", "SET autocommit = 1", (False,)),
            ("autocommit(False)", lambda db: db.autocommit(False), (True,)),
            ("autocommit(True)", lambda db: db.autocommit(True), (False,)),
        )
    ),
    SessionChange(
        "isolation",
        ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",),
        next_transaction,
    ),
    SessionChange(
        "isolation of the next transaction",
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",),
        next_transaction,
    ),
    SessionChange("read only", ("SET SESSION TRANSACTION READ ONLY",), fails),
    SessionChange("read only, next transaction", ("SET TRANSACTION READ ONLY",), fails),
    SessionChange(
        "many variables",
        (
            "SET wait_timeout = 5, sql_select_limit = 1000,"
            " group_concat_max_len = 4, div_precision_increment = 9, lc_time_names ="
            " 'de_DE', unique_checks = 0, sql_safe_updates = 1, auto_increment_offset"
            " = 3, completion_type = 1, session_track_schema = 0",
            "SET lock_wait_timeout = 1, innodb_lock_wait_timeout = 1",
        ),
        variables,
    ),
    SessionChange("SET NAMES", ("SET NAMES latin1",), variables),
    SessionChange("SET CHARACTER SET", ("SET CHARACTER SET latin1",), variables),
    SessionChange(
        "set_character_set()",
        (lambda db: db.set_character_set("latin1", "latin1_german1_ci"),),
        variables,
    ),
    SessionChange(
        "SET NAMES in a pool of latin1",
        ("SET NAMES utf8mb4",),
        variables,
        settings={"charset": "latin1", "collation": "latin1_german1_ci"},
    ),
    SessionChange(
        "SET STATEMENT",
        ("SET STATEMENT max_statement_time = 100 FOR SET @a = 1",),
        A,
        MARIADB,
    ),
]

USE = "USE {database}_other"
DATABASE = "SELECT DATABASE()"
NOWHERE = {"database": None}  # a pool without a database
OBJECTS = [
    SessionChange("USE", (USE,), DATABASE),
    SessionChange("use", ("use {database}_other",), DATABASE),
    SessionChange("USE after a comment", (f"/* x */ {USE}",), DATABASE),
    SessionChange("USE, many", (f"DO 1; {USE}",), DATABASE, settings=MANY),
    SessionChange("select_db()", (lambda db: db.select_db("mysql"),), DATABASE),
    *(
        SessionChange(
            f"no database: {name}", (sql,), DATABASE, only, True, settings=NOWHERE
        )
        for name, sql, only in (
            ("USE", USE, ""),
            ("USE after a comment", f"/* x */ {USE}", ""),
            ("USE after a --", f"-- x\n{USE}", ""),
            ("USE in a comment", f"/*!50000 {USE} */", ""),
            ("USE at once", f"EXECUTE IMMEDIATE '{USE}'", MARIADB),
            (
                "USE, statement",
                f"SET STATEMENT max_statement_time=9 FOR {USE}",
                MARIADB,
            ),
            (
                "USE, compound",
                f"BEGIN NOT ATOMIC EXECUTE IMMEDIATE '{USE}'; END",
                MARIADB,
            ),
        )
    ),
    SessionChange(
        "no database: USE, many",
        (f"DO 1; {USE}",),
        DATABASE,
        ended=True,
        settings=NOWHERE | MANY,
    ),
    SessionChange(
        "no database: select_db()",
        (lambda db: db.select_db("mysql"),),
        DATABASE,
        ended=True,
        settings=NOWHERE,
    ),
    SessionChange(
        "temporary table",
        ("CREATE TEMPORARY TABLE temporary_one (n INT)",),
        error("SELECT * FROM temporary_one"),
    ),
    SessionChange(
        "temporary table over another",
        ("CREATE TEMPORARY TABLE t (n INT)",),
        error("SELECT id FROM t"),
    ),
    SessionChange(
        "temporary table by a procedure",
        ("CALL p_temporary()",),
        error("SELECT * FROM temporary_one"),
    ),
    SessionChange("PREPARE", ("PREPARE kept FROM 'SELECT 1'",), error("EXECUTE kept")),
    SessionChange(
        "PREPARE by a procedure", ("CALL p_prepare()",), error("EXECUTE kept")
    ),
    SessionChange("SET ROLE", ("SET ROLE {role}",), "SELECT CURRENT_ROLE()"),
    SessionChange(
        "SET ROLE by a procedure", ("CALL p_role()",), "SELECT CURRENT_ROLE()"
    ),
    SessionChange(
        "SET ROLE, prepared",
        ("PREPARE s FROM 'SET ROLE {role}'", "EXECUTE s"),
        "SELECT CURRENT_ROLE()",
    ),
    SessionChange(
        "profiles",
        ("SET profiling = 1", "SELECT 'a secret'", "SET profiling = 0"),
        profiles,
        MARIADB,
        ended=True,
    ),
    SessionChange(
        "resource group",
        ("SET RESOURCE GROUP {role}",),
        "SELECT RESOURCE_GROUP FROM performance_schema.threads"
        " WHERE PROCESSLIST_ID = CONNECTION_ID()",
        MYSQL,
        ended=True,
    ),
]

LAST_ID = "SELECT LAST_INSERT_ID()"
ERRORS = "SHOW WARNINGS"
BAD_NUMBER = "SELECT CAST('x' AS SIGNED)"
NOTES = [
    SessionChange(
        "found rows",
        ("SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",),
        "SELECT FOUND_ROWS()",
    ),
    SessionChange(
        "last id: INSERT",
        ("INSERT INTO numbered (n) VALUES (FLOOR(RAND()*1e9))",),
        LAST_ID,
    ),
    SessionChange(
        "found rows of a plain SELECT",
        ("SELECT * FROM t",),
        "SELECT FOUND_ROWS()",
        unseen=(MARIADB, MYSQL),
    ),
    SessionChange(
        "row count",
        ("UPDATE t SET n = n + 1",),
        "SELECT ROW_COUNT()",
        autocommit=(True,),
        unseen=(MARIADB, MYSQL),
    ),
    SessionChange("last id: SELECT", ("SELECT LAST_INSERT_ID(42)",), LAST_ID),
    SessionChange(
        "last id: UPDATE",
        ("UPDATE t SET n = LAST_INSERT_ID(43) WHERE id = 1",),
        LAST_ID,
    ),
    SessionChange(
        "last id: RETURNING",
        ("INSERT INTO numbered (n) VALUES (FLOOR(RAND()*1e9)) RETURNING id",),
        LAST_ID,
        MARIADB,
    ),
    SessionChange(
        "last id: the second row failed",
        ("INSERT INTO numbered (n) VALUES (-1), (-1)",),
        LAST_ID,
        fails=(1062,),
    ),
    SessionChange(
        "last id: many",
        ("SELECT 1; INSERT INTO numbered (n) VALUES (FLOOR(RAND()*1e9))",),
        LAST_ID,
        settings=MANY,
    ),
    *(
        SessionChange(
            f"sequence: {sql}", (f"SELECT {sql}",), "SELECT LASTVAL(counting)", MARIADB
        )
        for sql in (
            "NEXT VALUE FOR counting",
            "NEXTVAL(counting)",
            "next\nvalue for counting",
            "NEXT # here\nVALUE FOR counting",
        )
    ),
    SessionChange("warnings", (BAD_NUMBER,), ERRORS),
    SessionChange("warnings, asked for", (BAD_NUMBER, "SHOW WARNINGS"), ERRORS),
    SessionChange("warnings, counted", (BAD_NUMBER, "SHOW COUNT(*) WARNINGS"), ERRORS),
    SessionChange(
        "warnings, show_warnings()", (BAD_NUMBER, lambda db: db.show_warnings()), ERRORS
    ),
    SessionChange("warnings, then none", (BAD_NUMBER, "DO 0"), ERRORS, MARIADB),
    SessionChange("error", ("SELECT nothing FROM t",), ERRORS, fails=(1054,)),
    SessionChange("error of syntax", ("SELEC 1",), ERRORS, fails=(1064,)),
]

UPDATE = "UPDATE t SET n = n + 1 WHERE id = 1"
ROW_LOCKED = attempt("SELECT * FROM t WHERE id = 1 FOR UPDATE NOWAIT")
TABLE_LOCKED = attempt("ALTER TABLE t COMMENT 'x'")
LOCKS = [
    SessionChange("GET_LOCK", ("SELECT GET_LOCK('{database}', 0)",), named_lock),
    SessionChange("get_lock", ("select get_lock('{database}', 0)",), named_lock),
    SessionChange("DO GET_LOCK", ("DO GET_LOCK('{database}', 0)",), named_lock),
    SessionChange("LOCK TABLES", ("LOCK TABLES t READ",), TABLE_LOCKED),
    SessionChange("lock tables", ("lock tables t write",), TABLE_LOCKED),
    SessionChange(
        "LOCK TABLES, many",
        ("SELECT 1; LOCK TABLES t READ",),
        TABLE_LOCKED,
        settings=MANY,
    ),
    SessionChange(
        "FLUSH TABLES WITH READ LOCK", ("FLUSH TABLES WITH READ LOCK",), TABLE_LOCKED
    ),
    SessionChange("FLUSH TABLES t", ("FLUSH TABLES t WITH READ LOCK",), TABLE_LOCKED),
    SessionChange("FLUSH … FOR EXPORT", ("FLUSH TABLES t FOR EXPORT",), TABLE_LOCKED),
    SessionChange("HANDLER", ("HANDLER t OPEN",), error("HANDLER t READ FIRST")),
    SessionChange("BACKUP LOCK", ("BACKUP LOCK t",), TABLE_LOCKED, MARIADB),
    SessionChange(
        "BACKUP STAGE",
        ("BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL"),
        TABLE_LOCKED,
        MARIADB,
    ),
    SessionChange("LOCK INSTANCE", ("LOCK INSTANCE FOR BACKUP",), TABLE_LOCKED, MYSQL),
]

OFF = (False,)
TRANSACTIONS = [
    SessionChange("BEGIN", ("BEGIN", UPDATE), ROW_LOCKED),
    SessionChange("begin()", (lambda db: db.begin(), UPDATE), ROW_LOCKED),
    SessionChange("START TRANSACTION", ("START TRANSACTION", UPDATE), ROW_LOCKED),
    SessionChange("UPDATE", (UPDATE,), ROW_LOCKED, autocommit=OFF),
    SessionChange(
        "FOR UPDATE", ("SELECT * FROM t FOR UPDATE",), ROW_LOCKED, autocommit=OFF
    ),
    SessionChange("SELECT", ("SELECT * FROM t",), sees_changes, autocommit=OFF),
    SessionChange("BEGIN, SELECT", ("BEGIN", "SELECT * FROM t"), sees_changes),
    SessionChange(
        "snapshot", ("START TRANSACTION WITH CONSISTENT SNAPSHOT",), sees_changes
    ),
    SessionChange(
        "SAVEPOINT", ("BEGIN", "SAVEPOINT a", UPDATE, "SAVEPOINT b"), ROW_LOCKED
    ),
    SessionChange("CHAIN", ("BEGIN", UPDATE, "COMMIT AND CHAIN", UPDATE), ROW_LOCKED),
    SessionChange(
        "duplicate key",
        ("INSERT INTO t VALUES (1, 1)",),
        ROW_LOCKED,
        fails=(1062,),
        autocommit=OFF,
    ),
    SessionChange(
        "duplicate key in a transaction",
        ("BEGIN", "INSERT INTO t VALUES (1, 1)"),
        ROW_LOCKED,
        fails=(1062,),
    ),
    SessionChange(
        "error after a SELECT",
        ("SELECT * FROM t", "SELECT nothing FROM t"),
        sees_changes,
        fails=(1054,),
        autocommit=OFF,
    ),
    SessionChange("XA START", ("XA START 'x'", UPDATE), ROW_LOCKED, ended=True),
    SessionChange(
        "XA END", ("XA START 'y'", UPDATE, "XA END 'y'"), ROW_LOCKED, ended=True
    ),
    SessionChange(
        "metadata of a table without transactions",
        ("SELECT * FROM plain",),
        attempt("ALTER TABLE plain COMMENT 'x'"),
        MYSQL,
        autocommit=OFF,
    ),
]
EVERYTHING = [*VARIABLES, *FUNCTIONS, *OBJECTS, *NOTES, *LOCKS, *TRANSACTIONS]
