-- The bank's tables, with sample data. Each statement ends at the end of a line,
-- no other line ends with a semicolon: the driver takes one statement at a time.

DROP TABLE IF EXISTS ledger, account;

CREATE TABLE account (
    id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    owner VARCHAR(60) NOT NULL UNIQUE,
    balance DECIMAL(12, 2) NOT NULL DEFAULT 0 CHECK (balance >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- What was ever moved. An entry without a sender is a deposit from outside.
CREATE TABLE ledger (
    id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    sender INT UNSIGNED,
    receiver INT UNSIGNED NOT NULL,
    amount DECIMAL(12, 2) NOT NULL CHECK (amount > 0),
    note VARCHAR(80) NOT NULL DEFAULT '',
    made_at DATETIME NOT NULL DEFAULT (UTC_TIMESTAMP()),
    FOREIGN KEY (sender) REFERENCES account (id),
    FOREIGN KEY (receiver) REFERENCES account (id),
    CHECK (sender <> receiver)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

INSERT INTO account (id, owner) VALUES
    (1, 'Ada Brook'),
    (2, 'Finn Harbour'),
    (3, 'Isla Rivers'),
    (4, 'Kai Lagoon'),
    (5, 'Marina Wells'),
    (6, 'Noor Delta'),
    (7, 'Otto Strand'),
    (8, 'Wanda Lake');

INSERT INTO ledger (sender, receiver, amount, note, made_at) VALUES
    (NULL, 1, 4200.00, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 2, 1850.50, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 3, 3120.00, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 4, 640.25, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 5, 5300.00, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 6, 2475.75, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 7, 980.00, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (NULL, 8, 1433.50, 'Opening deposit', UTC_TIMESTAMP() - INTERVAL 8 DAY),
    (5, 2, 450.00, 'Mooring, first quarter', UTC_TIMESTAMP() - INTERVAL 153 HOUR),
    (1, 7, 120.00, 'Sail repair', UTC_TIMESTAMP() - INTERVAL 101 HOUR),
    (4, 8, 36.80, 'Dinner at the pier', UTC_TIMESTAMP() - INTERVAL 77 HOUR),
    (3, 6, 275.00, 'Half of the canoe', UTC_TIMESTAMP() - INTERVAL 50 HOUR),
    (8, 4, 18.40, 'Ferry tickets', UTC_TIMESTAMP() - INTERVAL 26 HOUR),
    (2, 5, 64.95, 'Rope and paint', UTC_TIMESTAMP() - INTERVAL 3 HOUR);

-- Balances follow from the ledger, so that the two agree from the start.
UPDATE account SET balance = (
    SELECT SUM(IF(ledger.receiver = account.id, ledger.amount, -ledger.amount))
    FROM ledger
    WHERE account.id IN (ledger.sender, ledger.receiver)
);
