"""Run an experiment: plan it, send the traffic, record every request.

Importing this package imports neither locust nor boto3: `import locust` patches sockets and
threads for the whole process, and only the process that sends the traffic wants that.
"""
