"""Bases: frozen image models of several families behind one interface."""
