"""The simulator: a stand-in for the Elevate GDPR API, for trying out, rehearsing and testing."""
