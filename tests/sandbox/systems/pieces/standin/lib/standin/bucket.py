"""Objects in an S3 bucket: put, with a signature of version 4, bucket in the path."""

import datetime
import hashlib
import hmac
import urllib.parse
import urllib.request


class Bucket:
    def __init__(self, endpoint, region, name, key_id, key_secret):
        self.endpoint, self.region, self.name = endpoint.rstrip("/"), region, name
        self.key_id, self.key_secret = key_id, key_secret

    def put(self, key, data, kind):
        path = urllib.parse.quote(f"/{self.name}/{key}")
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(data).hexdigest()
        signed = {
            "content-type": kind,
            "host": urllib.parse.urlsplit(self.endpoint).netloc,
            "x-amz-content-sha256": digest,
            "x-amz-date": now,
        }
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = "\n".join(["PUT", path, "", lines, names, digest])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{self.key_secret}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers = {name: value for name, value in signed.items() if name != "host"}
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        put = urllib.request.Request(self.endpoint + path, data, headers, method="PUT")
        with urllib.request.urlopen(put, timeout=30):
            pass
