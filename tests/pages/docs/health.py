# A program that asks a database, other servers and Ray's actors, on threads and in processes of its own.
import asyncio
import logging
import queue as queues
import subprocess
import threading
from types import SimpleNamespace

import aiohttp
import grpc

import vagus

db, key, lag_s = SimpleNamespace(read=lambda key: [key]), "tea", 2.5
actor = SimpleNamespace(_actor_id=None)
address = "127.0.0.1:50051"
channel = grpc.insecure_channel(address)
thread = threading.Thread(target=print)
child = subprocess.Popen(["true"])
queue, job, carried = queues.Queue(), "resize", vagus.origin("worker@3", "resize").carry()
asyncio._set_running_loop(asyncio.new_event_loop())
