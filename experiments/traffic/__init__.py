"""What runs inside the Locust process: everything that imports locust or gevent."""
