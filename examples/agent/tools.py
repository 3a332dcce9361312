"""The tools of LM Studio's documentation as functions of Python: all that a model is told of them
stands in their signatures and docstrings."""

import math
import os
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from lmrun.tools.beneath import create_beneath, list_beneath


def get_delivery_date(order_id: str) -> datetime:
    """Get the delivery date for a customer's order. Call this whenever you need to know the
    delivery date, for example when a customer asks 'Where is my package'.

    Args:
        order_id: The customer's order ID.
    """
    # A real one would ask a database; this one keeps to its word for an order.
    days = 1 + sum(order_id.encode()) % 14
    return datetime.now().replace(microsecond=0) + timedelta(days=days)


def multiply(a: float, b: float) -> float:
    """Given two numbers a and b. Returns the product of them."""
    product = a * b
    return int(product) if product.is_integer() else product


def add(a: int, b: int) -> int:
    """Given two numbers a and b, returns the sum of them."""
    return a + b


def is_prime(n: int) -> bool:
    """Given a number n, returns True if n is a prime number."""
    if n < 2:
        return False
    return all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def create_file(name: str, content: str) -> str:
    """Create a file with the given name and content."""
    # In the working directory, whatever the name says, and never over a file that is there.
    create_beneath(".", name, content)
    return "File created."


def get_current_time() -> dict[str, object]:
    """Get the current system time with timezone information"""
    now = datetime.now().astimezone()
    return {
        "time": now.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "timezone": str(now.tzinfo),
        "timestamp": now.timestamp(),
    }


def analyze_directory(path: str = ".") -> dict[str, object]:
    """Count and categorize files in a directory

    Args:
        path: The directory path to analyze
    """
    entries = list_beneath(".", path)
    files = [entry for entry in entries if entry.kind != "directory"]
    return {
        "path": os.path.abspath(path),
        "total_files": len(files),
        "total_dirs": len(entries) - len(files),
        "total_size_bytes": sum(file.size_bytes for file in files),
        "file_types": Counter(Path(file.name).suffix.lower() or "no_extension" for file in files),
    }
