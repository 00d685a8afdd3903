"""Pieces of pages that Gradio has not: HTML templates with their own style and script, drawn by `gr.HTML`."""
