package task

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"steno.dev/workers/internal/message"
)

func pool(t *testing.T, changes map[string]any) (*Pool, error) {
	t.Helper()
	document := map[string]any{
		"kind": "PoolTask", "pool": Ref{"team", "ocr", "pool-1"}, "tenant": "acme", "model": map[string]any{"name": "base"},
		"reporting": map[string]any{"url": "https://operator", "tokenFile": "/token"},
		"queue": map[string]any{
			"settings":        map[string]any{"kind": "RedisStreams", "url": "rediss://redis", "maxReceives": 3},
			"credentialsRoot": "/secrets",
		},
	}
	for name, value := range changes {
		document[name] = value
	}
	data, _ := json.Marshal(document)
	name := filepath.Join(t.TempDir(), "pool.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadPool(name)
}

func TestThePoolsTask(t *testing.T) {
	read, err := pool(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	settings := read.Queue.Settings
	if settings.Name != "steno" || settings.MaxReceives != 3 || settings.VisibilitySeconds != 60 ||
		settings.DeduplicationSeconds != 300 || read.Reporting.IntervalSeconds != 5 {
		t.Errorf("%+v", read)
	}
	sqs := map[string]any{"settings": map[string]any{"kind": "SQS", "url": "https://sqs"}, "credentialsRoot": "/"}
	for why, changes := range map[string]map[string]any{
		"the pool has no queue":      {"queue": nil},
		"needs an operator":          {"reporting": nil},
		"does not name the pool":     {"pool": Ref{}},
		"messages from RedisStreams": {"queue": sqs},
		"is not the task of a pool":  {"pool": "ocr"},
	} {
		if _, err := pool(t, changes); err == nil || !strings.Contains(err.Error(), why) {
			t.Error(why, err)
		}
	}
	if _, err := ReadPool("missing.json"); err == nil {
		t.Error("a file that does not exist was read")
	}
}

// change sets a field of a task, whose path is in dots; nil removes it.
func change(document map[string]any, path string, value any) {
	name, rest, more := strings.Cut(path, ".")
	switch {
	case more:
		change(document[name].(map[string]any), rest, value)
	case value == nil:
		delete(document, name)
	default:
		document[name] = value
	}
}

func asked(t *testing.T, path string, value any) (*OCR, error) {
	t.Helper()
	data := map[string]any{
		"apiVersion": "steno.dev/v1alpha1", "kind": "OCRTask", "attempt": 1, "tenant": "acme", "documentID": "계약서",
		"job": Ref{"team", "job", "uid"}, "languages": []string{"ko"}, "engine": "Auto", "mode": "Skip",
		"metadata": map[string]string{"case": "7"}, "modelStore": "/elsewhere", "onlyShort": map[string]any{"pages": 20},
		"source": map[string]any{"uri": "s3://in/a.pdf", "credentialsDir": "/secrets/in", "maxBytes": 1000},
		"output": map[string]any{
			"uri": "s3://out/team/a/uid", "credentialsDir": "/secrets/out", "formats": []string{"txt", "json", "txt"},
		},
	}
	given := map[string]any{"id": "uid/1", "source": "/steno/team/ocr", "data": data}
	if path != "" {
		change(given, path, value)
	}
	body, _ := json.Marshal(given)
	read := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatal(err)
	}
	of, err := pool(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	return of.OCROf(&message.Message{
		ID: given["id"].(string), Source: given["source"].(string), Data: read["data"],
	})
}

func TestATask(t *testing.T) {
	found, err := asked(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.DocumentID != "계약서" || found.Source.MaxBytes != 1000 || found.OnlyShort.Pages != 20 ||
		found.Metadata["case"] != "7" || !reflect.DeepEqual(found.Output.Formats, []string{"json", "txt"}) {
		t.Errorf("%+v", found)
	}
}

func TestWhatNoServerOfThePoolDoesIsRefused(t *testing.T) {
	for why, each := range map[string]struct {
		path  string
		value any
	}{
		"is not that of its attempt":       {"data.attempt", 2},
		"it is for /steno/team/other":      {"source", "/steno/team/other"},
		"its job is in another namespace":  {"data.job", Ref{"rival", "job", "uid"}},
		"it reads or writes a volume":      {"data.source.path", "/mnt/a"},
		"uriSecretRef needs a pod":         {"data.source.uriFile", "/secrets/uri"},
		"a Secret that the pool does not ": {"data.output.credentialsDir", "/secrets/../etc"},
		"it uses a Secret that":            {"data.source.credentialsDir", "/secrets/in/deeper"},
		"a Secret that the pool":           {"data.source.credentialsDir", "/secrets/.."},
	} {
		_, err := asked(t, each.path, each.value)
		var refused *Refused
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Why, "The pool ocr cannot make this attempt: ") ||
			!strings.Contains(refused.Why, why) {
			t.Error(each.path, err)
		}
	}
}

func TestWhatServersOfThePoolDoIsLeftToThem(t *testing.T) {
	for path, value := range map[string]any{
		"data.kind": "TranscriptionTask", "data.documentID": nil, "data.output.formats": []string{"docx"},
		"data.output.uri": "pvc://claim/out", "data.output.credentialsDir": nil, "data.source.credentialsDir": nil,
		"data.source.uri": "ftp://in/a.pdf", "data.source.maxBytes": "many",
	} {
		_, err := asked(t, path, value)
		var unsuitable *Unsuitable
		if !errors.As(err, &unsuitable) {
			t.Error(path, err)
		}
	}
}
