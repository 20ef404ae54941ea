package storage

import (
	"strings"
	"testing"
)

func TestWhereCredentialsOfTheWebAreSent(t *testing.T) {
	limits, err := scopeOf(map[string]string{
		allowedPrefix: "https://files.example/in/ https://other.example:8443 http://plain.example/",
	})
	if err != nil {
		t.Fatal(err)
	}
	for url, sent := range map[string]bool{
		"https://files.example/in/a.pdf":      true,
		"https://FILES.example:443/in/a%20b":  true,
		"https://files.example/in":            true,
		"https://other.example:8443/x?y=1":    true,
		"https://files.example/inner/a.pdf":   false,
		"https://files.example/in/../out":     false,
		"https://files.example/in/%2e%2e/out": false,
		"https://files.example/in//a":         false,
		"https://files.example/in/a%2fb":      false,
		"https://files.example/in/a%252fb":    false,
		"https://files.example:444/in/a":      false,
		"https://user@files.example/in/a":     false,
		`https://files.example\@evil/in/a`:    false,
		"https://other.example/x":             false,
		"http://files.example/in/a.pdf":       false,
		"http://plain.example/a":              false, // without allowPlainHTTP
		"ftp://files.example/in/a":            false,
		"https://files.example/in/\u202e":     false,
	} {
		if why := limits.refuseURL(url); (why == "") != sent {
			t.Errorf("%s: %q", url, why)
		}
	}
	if _, err := scopeOf(map[string]string{allowedPrefix: "files.example"}); err == nil ||
		strings.Contains(err.Error(), "files.example") {
		t.Error(err)
	}
}

func TestWhereCredentialsOfS3AreSent(t *testing.T) {
	for name, each := range map[string]struct {
		values                map[string]string
		endpoint, bucket, key string
		sent                  bool
	}{
		"AWS":                   {map[string]string{}, "", "b", "k", true},
		"AWS by its name":       {map[string]string{}, "https://s3.eu-west-1.amazonaws.com/", "b", "k", true},
		"AWS of another region": {map[string]string{}, "https://s3.us-east-1.amazonaws.com", "b", "k", false},
		"a stranger's server":   {map[string]string{}, "https://evil.example", "b", "k", false},
		"its own server":        {map[string]string{endpointKey: "https://s3.example"}, "https://s3.example", "b", "k", true},
		"its own, beside AWS":   {map[string]string{endpointKey: "https://s3.example"}, "", "b", "k", false},
		"a bucket of the list":  {map[string]string{allowedPrefix: "s3://b/team"}, "", "b", "team/k", true},
		"beside the list":       {map[string]string{allowedPrefix: "s3://b/team"}, "", "b", "teams/k", false},
		"a listed server":       {map[string]string{allowedPrefix: "https://s3.example/b"}, "https://s3.example", "b", "k", true},
		"its other bucket":      {map[string]string{allowedPrefix: "https://s3.example/b"}, "https://s3.example", "c", "k", false},
		"plain HTTP":            {map[string]string{allowedPrefix: "http://s3.example"}, "http://s3.example", "b", "k", false},
		"permitted plain HTTP": {
			map[string]string{allowedPrefix: "http://s3.example", allowPlainHTTP: "True"}, "http://s3.example", "b", "k", true,
		},
		"an endpoint with a query": {map[string]string{}, "https://s3.eu-west-1.amazonaws.com?x", "b", "k", false},
	} {
		limits, err := scopeOf(each.values)
		if err != nil {
			t.Fatal(err)
		}
		target, ok := s3Location(each.bucket, each.key)
		if why := limits.refuseObject(each.endpoint, "eu-west-1", target); !ok || (why == "") != each.sent {
			t.Errorf("%s: %q", name, why)
		}
	}
	for _, each := range [][2]string{{"b", "a//b"}, {"b", "../b"}, {"", "k"}, {"b c", "k"}} {
		if _, ok := s3Location(each[0], each[1]); ok {
			t.Error(each, "is a place in S3")
		}
	}
}

func TestRedact(t *testing.T) {
	for uri, want := range map[string]string{
		"https://user:secret@host.example/a?sig=1#x": "https://host.example/a",
		"HTTPS://host.example?sig=1":                 "https://host.example",
		"s3://bucket/a?b":                            "s3://bucket/a?b",
	} {
		if got := Redact(uri); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}
