"""The shop's database: products, customers and orders in one SQLite file of a world's folder.

The shop does what it is told: it places drafts beyond its stock or a customer's budget and cancels shipped orders. To
look first and to refuse is the agent's part.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASE_FILE = "shop.sqlite"
MAX_FOUND = 4  # products in a search result
DRAFT = "draft"  # the status of an order that is not placed yet

SCHEMA = """
CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT, price INTEGER, stock INTEGER, warranty INTEGER, origin TEXT);
CREATE TABLE customers (name TEXT PRIMARY KEY, budget INTEGER);
CREATE TABLE orders (id TEXT PRIMARY KEY, customer TEXT, product TEXT, quantity INTEGER, total INTEGER, status TEXT);
CREATE TABLE free_ids (position INTEGER PRIMARY KEY, id TEXT);
"""


class ShopError(Exception):
    """What a caller asked for is not there or makes no sense; the text is meant for a model."""


@dataclass(frozen=True)
class Product:
    id: str
    name: str
    price: int
    stock: int
    warranty: int  # months
    origin: str


@dataclass(frozen=True)
class Order:
    id: str
    customer: str
    product: str  # its id
    quantity: int
    total: int
    status: str


@dataclass(frozen=True)
class Draft:
    """An order not placed yet, and what speaks for or against it."""

    order: Order
    stock: int
    budget: int
    verdict: str  # "ok", "not enough stock" or "over budget"


def create_shop(folder: Path, setup: Mapping[str, Any]) -> None:
    """Write the database of a task's setup: `products`, `customers`, `orders`, and `order_ids` for orders to come."""
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as database, database:
        database.execute("PRAGMA synchronous=OFF")  # a world does not outlive its rollout
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO products VALUES (:id, :name, :price, :stock, :warranty, :origin)", setup.get("products", ())
        )
        database.executemany("INSERT INTO customers VALUES (:name, :budget)", setup.get("customers", ()))
        database.executemany(
            "INSERT INTO orders VALUES (:id, :customer, :product, :quantity, :total, :status)", setup.get("orders", ())
        )
        database.executemany("INSERT INTO free_ids (id) VALUES (?)", [(id,) for id in setup.get("order_ids", ())])


class Shop:
    """The shop of one world. Each method opens a connection of its own and closes it, so thousands may lie idle."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE_FILE

    def search(self, query: str) -> list[Product]:
        """Products whose name holds a word of `query`, cheapest first, MAX_FOUND at most."""
        words = set(query.lower().split())
        with self._open() as database:
            rows = database.execute("SELECT * FROM products ORDER BY price, id").fetchall()
        return [product for product in (Product(*row) for row in rows) if words & set(product.name.split())][:MAX_FOUND]

    def product(self, id: str) -> Product:
        with self._open() as database:
            return self._product(database, id)

    def draft(self, product: str, quantity: int, customer: str) -> Draft:
        """Write down an order that is not placed yet, and say whether stock and the customer's budget allow it."""
        with self._open() as database:
            found = self._product(database, product)
            budget = self._budget(database, customer)
            if quantity < 1:
                raise ShopError("quantity must be at least 1")
            order = Order(self._next_id(database), customer, found.id, quantity, found.price * quantity, DRAFT)
            database.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)",
                (order.id, order.customer, order.product, order.quantity, order.total, order.status),
            )
        verdict = "not enough stock" if quantity > found.stock else "over budget" if order.total > budget else "ok"
        return Draft(order, found.stock, budget, verdict)

    def place(self, id: str) -> Order:
        """Turn a draft into an order."""
        with self._open() as database:
            order = self._order(database, id)
            if order.status != DRAFT:
                raise ShopError(f"{id} is no draft, it is {order.status}")
            database.execute("UPDATE orders SET status = 'new' WHERE id = ?", (order.id,))
            database.execute("UPDATE products SET stock = stock - ? WHERE id = ?", (order.quantity, order.product))
            database.execute("UPDATE customers SET budget = budget - ? WHERE name = ?", (order.total, order.customer))
        return order

    def order(self, id: str) -> Order:
        with self._open() as database:
            return self._order(database, id)

    def orders(self) -> list[Order]:
        with self._open() as database:
            return [Order(*row) for row in database.execute("SELECT * FROM orders ORDER BY rowid")]

    def cancel(self, id: str) -> Order:
        with self._open() as database:
            order = self._order(database, id)
            database.execute("UPDATE orders SET status = 'cancelled' WHERE id = ?", (order.id,))
        return order

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises ShopError where the world has no shop."""
        if not self.path.is_file():
            raise ShopError("this world has no shop")
        with closing(sqlite3.connect(self.path, timeout=10)) as database:
            database.execute("PRAGMA synchronous=OFF")
            with database:
                database.execute("BEGIN IMMEDIATE")
                yield database

    def _product(self, database: sqlite3.Connection, id: str) -> Product:
        row = database.execute("SELECT * FROM products WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise ShopError(f"no product {id}")
        return Product(*row)

    def _order(self, database: sqlite3.Connection, id: str) -> Order:
        row = database.execute("SELECT * FROM orders WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise ShopError(f"no order {id}")
        return Order(*row)

    def _budget(self, database: sqlite3.Connection, customer: str) -> int:
        row = database.execute("SELECT budget FROM customers WHERE name = ?", (customer,)).fetchone()
        if row is None:
            raise ShopError(f"no customer {customer}")
        return int(row[0])

    def _next_id(self, database: sqlite3.Connection) -> str:
        row = database.execute("SELECT position, id FROM free_ids ORDER BY position LIMIT 1").fetchone()
        if row is not None:
            database.execute("DELETE FROM free_ids WHERE position = ?", (row[0],))
            return str(row[1])
        count = database.execute("SELECT count(*) FROM orders").fetchone()[0]
        return f"R{1000 + count}"
