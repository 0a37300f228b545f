"""Servers and setup steps in containers, through the Docker SDK: any Docker engine, or Podman's compatible socket."""

from runner.runtimes.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime"]
