package storage

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"steno.dev/workers/internal/egress"
	"steno.dev/workers/internal/task"
)

func store(t *testing.T, allowed ...string) *Store {
	t.Helper()
	filter, err := egress.New(allowed, nil)
	if err != nil {
		t.Fatal(err)
	}
	made := NewStore(filter)
	made.retry = time.Millisecond
	t.Cleanup(made.transport.CloseIdleConnections)
	return made
}

func web(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

func secret(t *testing.T, values map[string]string) *string {
	t.Helper()
	folder := t.TempDir()
	for name, value := range values {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &folder
}

const loopback = "127.0.0.0/8"

func TestWhatAnswersOfAWebServerMean(t *testing.T) {
	for name, each := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"missing":   {http.NotFound, SourceNotFound},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, SourceForbidden},
		"broken":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, SourceUnavailable},
		"odd":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, InvalidSpec},
		"too large": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2000)) }, TooLarge},
		"a circle":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, InvalidSpec},
		"another kind": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, InvalidSpec},
		"half": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
		}, SourceUnavailable},
	} {
		url := web(t, each.answer)
		_, err := store(t, loopback).Fetch(t.Context(), task.Location{URI: url + "/a?signature=1", MaxBytes: 1000})
		var failure *Failure
		if !errors.As(err, &failure) || failure.Reason != each.reason || strings.Contains(failure.Message, "signature") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASourceIsReadAgainWhenItBroke(t *testing.T) {
	var asked atomic.Int32
	url := web(t, func(writer http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < tries {
			writer.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		writer.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(writer)
		_, _ = packed.Write([]byte("document"))
		_ = packed.Close()
	})
	data, err := store(t, loopback).Fetch(t.Context(), task.Location{URI: url, MaxBytes: 1000})
	if err != nil || string(data) != "document" {
		t.Error(string(data), err)
	}
}

func TestWhatAServerOfThePoolReadsIsLeftToIt(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"announced": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "33554433") },
		"found":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte{1}, MaxDocument+1)) },
		"packed":    func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "br") },
	} {
		url := web(t, answer)
		_, err := store(t, loopback).Fetch(t.Context(), task.Location{URI: url, MaxBytes: 1 << 40})
		if !errors.Is(err, ErrLeft) {
			t.Error(name, err)
		}
	}
}

func TestAForbiddenAddressIsNotAskedNotEvenByARedirect(t *testing.T) {
	inner := web(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	outer := web(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(inner, "127.0.0.1", "127.0.0.2", 1), http.StatusFound)
	})
	for _, each := range []struct {
		url     string
		allowed []string
	}{{inner, nil}, {outer, []string{"127.0.0.1"}}} {
		_, err := store(t, each.allowed...).Fetch(t.Context(), task.Location{URI: each.url, MaxBytes: 1000})
		var failure *Failure
		if !errors.As(err, &failure) || failure.Reason != SourceForbidden {
			t.Error(each.url, err)
		}
	}
}

func TestCredentialsGoWhereTheirSecretSays(t *testing.T) {
	var seen []string
	echo := func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("x"))
	}
	other := web(t, echo)
	url := web(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/in/away":
			http.Redirect(w, r, other, http.StatusFound)
		case "/in/up":
			http.Redirect(w, r, "/out", http.StatusFound)
		}
	})
	folder := secret(t, map[string]string{httpToken: "token", allowedPrefix: url + "/in", allowPlainHTTP: "true"})
	for path, want := range map[string]string{
		"/in/a": "Bearer token", "/in/away": "Bearer token|", "/in/up": "Bearer token|",
	} {
		seen = nil
		_, err := store(t, loopback).Fetch(t.Context(), task.Location{URI: url + path, CredentialsDir: folder, MaxBytes: 9})
		if err != nil || strings.Join(seen, "|") != want {
			t.Errorf("%s: %q %v", path, seen, err)
		}
	}
	seen = nil
	_, err := store(t, loopback).Fetch(t.Context(), task.Location{URI: url + "/out", CredentialsDir: folder, MaxBytes: 9})
	var failure *Failure
	if !errors.As(err, &failure) || failure.Reason != SourceForbidden || len(seen) > 0 {
		t.Error(seen, err)
	}
	named := strings.Replace(url, "//", "//user:word@", 1)
	_, err = store(t, loopback).Fetch(t.Context(), task.Location{URI: named, MaxBytes: 9})
	if err != nil || seen[0] != "Basic dXNlcjp3b3Jk" {
		t.Error(seen, err)
	}
}
