"""Databases beside a tenant's, made for one command and dropped."""
