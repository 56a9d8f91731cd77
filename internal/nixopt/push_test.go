package nixopt_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

func TestParsePush(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]nixopt.Push{
		"file:///srv/cache/":                            {Scheme: "file", Dir: "/srv/cache", Secure: true},
		"file:///srv/cache?compression=none":            {Scheme: "file", Dir: "/srv/cache", Secure: true, Plain: true},
		"https://cache.example.org/a/?compression=zstd": {Scheme: "https", URL: "https://cache.example.org/a", Secure: true},
		"http://127.0.0.1:8080":                         {Scheme: "http", URL: "http://127.0.0.1:8080", Secure: true},
		"s3://bucket":                                   {Scheme: "s3", Bucket: "bucket", Secure: true},
		"s3://bucket?region=eu-1&endpoint=s3.example.org:9000&scheme=http&profile=me": {
			Scheme: "s3", Bucket: "bucket", Region: "eu-1", Endpoint: "s3.example.org:9000", Profile: "me",
		},
		"s3://bucket/?endpoint=https://s3.example.org/&scheme=http": {Scheme: "s3", Bucket: "bucket", Endpoint: "s3.example.org", Secure: true},
	} {
		got, err := nixopt.ParsePush(address)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", address, err, diff)
		}
	}
	for address, want := range map[string]string{
		"": "address", "ssh://x": "address", "/srv/cache": "address", "file://srv/cache": "absolute directory", "file:srv": "address",
		"s3://bucket/prefix": "bucket alone", "s3://bucket?secret-key=/k": "push_key_file", "s3://bucket?parallel-compression=true": `"parallel-compression"`,
		"https://x?region=y": `"region"`, "s3://bucket?scheme=ftp": "scheme=ftp", "https://x?compression=xz": "compression=xz",
		"https://me:hunter2@x/": "NETRC", "s3://me:hunter2@bucket": "AWS_ACCESS_KEY_ID", "https://x?%zz": "parameters",
	} {
		_, err := nixopt.ParsePush(address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

func TestSecretKey(t *testing.T) {
	t.Parallel()
	const good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="
	if name, seed, err := nixopt.SecretKey("cache-1:" + good + "\n"); name != "cache-1" || len(seed) != 32 || err != nil {
		t.Error(name, len(seed), err)
	}
	for text, want := range map[string]string{
		"": "NAME:BASE64", good: "NAME:BASE64", ":" + good: "NAME:BASE64", "a b:" + good: "NAME:BASE64", "k:AAEC": "64 bytes", "k:" + good[4:]: "64 bytes",
		"k:" + "BB" + good[2:]: "halves", "k:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=": "public key k",
	} {
		if _, _, err := nixopt.SecretKey(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "CQoLDA0O") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
