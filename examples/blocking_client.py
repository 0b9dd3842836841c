"""A Flask application that starts runs. Workers execute them elsewhere: `troth worker examples.blocking_client:troth`."""

from flask import Flask

from troth import Troth, blocking

troth = Troth()


@troth.step
def greet(name: str) -> str:
    return f"hello {name}"


@troth.workflow
async def welcome(name: str) -> str:
    return await greet(name)


app = Flask("welcome")
runs = blocking.Client(troth)  # opens with the first request, in the process that serves it
runs.init_app(app)


@app.post("/welcome/<name>")
def start(name: str) -> dict[str, str]:
    run = runs.start(welcome, name, key=f"welcome:{name}")
    return {"run": str(run.id), "said": run.result(timeout=10)}
