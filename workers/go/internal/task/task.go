// Package task has the JSON documents that a worker is given: the task of a pool, and that of an attempt.
package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"steno.dev/workers/internal/message"
	"steno.dev/workers/internal/queue"
)

// Ref names a resource.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Egress says which networks sources and outputs may, or may not, be on, beside the built-in rules.
type Egress struct {
	AllowedNetworks []string `json:"allowedNetworks"`
	DeniedNetworks  []string `json:"deniedNetworks"`
}

// Reporting says where the operator is.
type Reporting struct {
	URL             string  `json:"url"`
	CA              string  `json:"ca"`
	TokenFile       string  `json:"tokenFile"`
	IntervalSeconds float64 `json:"intervalSeconds"`
}

// Queue of a pool.
type Queue struct {
	Settings queue.Settings `json:"settings"`
	// CredentialsRoot has a directory for each Secret that jobs may use.
	CredentialsRoot string `json:"credentialsRoot"`
}

// Pool is the configuration of a pool's servers, as far as this worker needs it.
type Pool struct {
	Pool      Ref        `json:"pool"`
	Egress    Egress     `json:"egress"`
	Reporting *Reporting `json:"reporting"`
	Queue     *Queue     `json:"queue"`
}

// ReadPool reads a pool's task, and checks that this worker can serve its queue.
func ReadPool(name string) (*Pool, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := &Pool{Queue: &Queue{Settings: queue.DefaultSettings()}, Reporting: &Reporting{IntervalSeconds: 5}}
	if err := json.Unmarshal(data, pool); err != nil {
		return nil, fmt.Errorf("%s is not the task of a pool: %w", name, err)
	}
	switch {
	case pool.Pool.Namespace == "" || pool.Pool.Name == "":
		return nil, fmt.Errorf("%s does not name the pool", name)
	case pool.Queue == nil || pool.Queue.Settings.Kind == "":
		return nil, errors.New("the pool has no queue: add Queue to its spec.workloads")
	case pool.Reporting == nil || pool.Reporting.URL == "":
		return nil, errors.New("a pool with a queue needs an operator to report to")
	}
	return pool, pool.Queue.Settings.Validate()
}

// Location is a source or an output.
type Location struct {
	URI            string  `json:"uri"`
	URIFile        *string `json:"uriFile"`
	Path           *string `json:"path"`
	EndpointURL    string  `json:"endpointURL"`
	Region         string  `json:"region"`
	CredentialsDir *string `json:"credentialsDir"`
	// MaxBytes of a source.
	MaxBytes int64 `json:"maxBytes"`
	// Formats of an output.
	Formats []string `json:"formats"`
}

// ShortSource is the longest that servers of a pool work on for a job that may have a pod of its own instead.
type ShortSource struct {
	Pages int32 `json:"pages"`
}

// OCRKind is the kind of the tasks that this worker does.
const OCRKind = "OCRTask"

// Formats that a runtime server makes of a document, the one that holds everything first.
var Formats = []string{"json", "markdown", "pdf", "txt"}

// OCR is what one attempt of an OCRJob does.
type OCR struct {
	Kind       string            `json:"kind"`
	Job        Ref               `json:"job"`
	Attempt    int               `json:"attempt"`
	Tenant     string            `json:"tenant"`
	Metadata   map[string]string `json:"metadata"`
	Source     Location          `json:"source"`
	Output     Location          `json:"output"`
	OnlyShort  *ShortSource      `json:"onlyShort"`
	DocumentID string            `json:"documentID"`
	Languages  []string          `json:"languages"`
	Engine     string            `json:"engine"`
	Pages      string            `json:"pages"`
	Mode       string            `json:"mode"`
}

// Unsuitable is the error of a message that the servers of the pool may do, and this worker does not.
type Unsuitable struct{ Why string }

func (unsuitable *Unsuitable) Error() string { return unsuitable.Why }

// Refused is the error of a message that belongs to the dead letters; its text is the reason.
type Refused struct{ Why string }

func (refused *Refused) Error() string { return refused.Why }

// OCROf returns what a message asks for; else the error is an *Unsuitable or a *Refused. A message is trusted less
// than a pod's task: who can write to the queue's server is not the operator.
func (pool *Pool) OCROf(given *message.Message) (*OCR, error) {
	asked := &OCR{Source: Location{MaxBytes: 5 << 30}}
	var kind struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(given.Data, &kind) != nil || kind.Kind != OCRKind {
		return nil, &Unsuitable{"this worker does OCR only"}
	}
	if json.Unmarshal(given.Data, asked) != nil || asked.Job.UID == "" || asked.Attempt < 1 || asked.DocumentID == "" {
		return nil, &Unsuitable{"its task is of another version"}
	}
	if why := pool.refusal(given, asked); why != "" {
		return nil, &Refused{fmt.Sprintf("The pool %s cannot make this attempt: %s.", pool.Pool.Name, why)}
	}
	if why := asked.unsuitable(); why != "" {
		return nil, &Unsuitable{why}
	}
	slices.Sort(asked.Output.Formats)
	asked.Output.Formats = slices.Compact(asked.Output.Formats)
	return asked, nil
}

// refusal returns why no server of the pool does a task; empty: they do.
func (pool *Pool) refusal(given *message.Message, asked *OCR) string {
	home := fmt.Sprintf("/steno/%s/%s", pool.Pool.Namespace, pool.Pool.Name)
	switch {
	case given.ID != fmt.Sprintf("%s/%d", asked.Job.UID, asked.Attempt):
		return "the message's id is not that of its attempt"
	case given.Source != home:
		return "it is for " + given.Source[:min(len(given.Source), 200)]
	case asked.Job.Namespace != pool.Pool.Namespace:
		return "its job is in another namespace"
	case asked.Source.Path != nil || asked.Output.Path != nil:
		return "it reads or writes a volume, which needs a pod of its own (execution: Job)"
	case asked.Source.URIFile != nil:
		return "source.uriSecretRef needs a pod of its own (execution: Job)"
	case !pool.lists(asked.Source.CredentialsDir) || !pool.lists(asked.Output.CredentialsDir):
		return "it uses a Secret that the pool does not list"
	}
	return ""
}

func (pool *Pool) lists(folder *string) bool {
	if folder == nil {
		return true
	}
	home, name := filepath.Split(*folder)
	return name != "" && name != "." && name != ".." && filepath.Clean(home) == filepath.Clean(pool.Queue.CredentialsRoot)
}

func (asked *OCR) unsuitable() string {
	for _, format := range asked.Output.Formats {
		if !slices.Contains(Formats, format) {
			return "it wants a format that this worker does not know"
		}
	}
	scheme, _, _ := strings.Cut(strings.ToLower(asked.Source.URI), "://")
	switch {
	case len(asked.Output.Formats) == 0:
		return "it wants no format"
	case !strings.HasPrefix(asked.Output.URI, "s3://"):
		return "its output is not on S3"
	case asked.Output.CredentialsDir == nil:
		return "its output needs the identity of a server's pod"
	case scheme == "s3" && asked.Source.CredentialsDir == nil:
		return "its source needs the identity of a server's pod"
	case scheme != "s3" && scheme != "http" && scheme != "https":
		return "its source is neither on S3 nor on the web"
	}
	return ""
}
