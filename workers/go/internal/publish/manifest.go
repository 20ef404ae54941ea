package publish

import (
	"context"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"steno.dev/workers/internal/message"
	"steno.dev/workers/internal/storage"
	"steno.dev/workers/internal/task"
)

const (
	manifestName   = "manifest.json"
	manifestSchema = "steno.dev/manifest/v1"
	timeFormat     = "2006-01-02T15:04:05.000000Z07:00"
	maxWarning     = 200
	maxWarnings    = 12
)

// Artifact is one published file.
type Artifact struct {
	Format string `json:"format"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"bytes"`
}

// Warning sums up the warnings of one reason.
type Warning struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// Summary has the figures of a document.
type Summary struct {
	Pages             int            `json:"pages"`
	FailedPages       int            `json:"failedPages"`
	Characters        int            `json:"characters"`
	Confidence        float64        `json:"confidence"`
	Engines           map[string]int `json:"engines"`
	ProcessingSeconds float64        `json:"processingSeconds"`
	PagesPerSecond    float64        `json:"pagesPerSecond"`
}

// Manifest is the list of published artifacts, written last: if it exists, the results are complete.
type Manifest struct {
	SchemaVersion string            `json:"schemaVersion"`
	Job           task.Ref          `json:"job"`
	Attempt       int               `json:"attempt"`
	Tenant        string            `json:"tenant"`
	CreatedAt     string            `json:"createdAt"`
	SourceURI     string            `json:"sourceUri"`
	Metadata      map[string]string `json:"metadata"`
	Artifacts     []Artifact        `json:"artifacts"`
	Summary       Summary           `json:"summary"`
	Warnings      []Warning         `json:"warnings"`
	Proof         string            `json:"proof,omitempty"`
}

// Find returns the manifest that was published for a job, if one was: nil otherwise.
func Find(ctx context.Context, to *storage.Output, uid string, proofs *Proofs) (*Manifest, error) {
	data, err := to.Read(ctx, manifestName)
	if data == nil || err != nil {
		return nil, err
	}
	return parse(ctx, to, data, uid, proofs)
}

func parse(ctx context.Context, to *storage.Output, data []byte, uid string, proofs *Proofs) (*Manifest, error) {
	found := &Manifest{}
	value, err := message.Decode(data)
	document, isObject := value.(map[string]any)
	if err != nil || !isObject || json.Unmarshal(data, found) != nil ||
		found.SchemaVersion != manifestSchema || found.Job.UID != uid {
		return nil, conflict(to, manifestName)
	}
	held, err := proofs.holdManifest(ctx, document)
	if err == nil && !held {
		err = conflict(to, manifestName)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// write writes the manifest, after all artifacts; returns the one that is valid: this one, or that of a process that
// was faster.
func write(ctx context.Context, to *storage.Output, made *Manifest, proofs *Proofs) (*Manifest, error) {
	made.SchemaVersion, made.CreatedAt = manifestSchema, time.Now().UTC().Format(timeFormat)
	data, err := signed(made, proofs)
	if err != nil {
		return nil, err
	}
	existing, err := createOrRead(ctx, to, manifestName, data, "application/json")
	if err != nil || existing == nil {
		return made, err
	}
	return parse(ctx, to, existing, made.Job.UID, proofs)
}

func signed(made *Manifest, proofs *Proofs) ([]byte, error) {
	data, err := json.Marshal(made)
	if err != nil || proofs.signing == nil {
		return data, err
	}
	document, err := message.Decode(data)
	if err != nil {
		return nil, err
	}
	if made.Proof, err = message.Prove(proofs.signing, map[string]any{"manifest": document}); err != nil {
		return nil, err
	}
	return json.Marshal(made)
}

func conflict(to *storage.Output, name string) *storage.Failure {
	return storage.Fail(storage.OutputForbidden, "%s/%s exists already and is not known to be a result of this job; it is "+
		"not overwritten. Remove it, or choose another output.uri.", to.URI(), name)
}

// pages is what this package reads of the document in JSON.
type pages struct {
	TenantID       string  `json:"tenant_id"`
	DocumentID     string  `json:"document_id"`
	TotalPages     int     `json:"total_pages"`
	FailedPages    int     `json:"failed_pages"`
	Confidence     float64 `json:"confidence"`
	ProcessingTime float64 `json:"processing_time"`
	Pages          []struct {
		Engine string `json:"engine"`
		Text   string `json:"text"`
	} `json:"pages"`
	Warnings []struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"warnings"`
}

func (document *pages) summary() Summary {
	made := Summary{
		Pages: document.TotalPages, FailedPages: document.FailedPages, Confidence: document.Confidence,
		Engines: map[string]int{}, ProcessingSeconds: document.ProcessingTime,
	}
	for _, page := range document.Pages {
		made.Characters += utf8.RuneCountInString(page.Text)
		if page.Engine != "" {
			made.Engines[page.Engine]++
		}
	}
	if made.ProcessingSeconds > 0 {
		made.PagesPerSecond = math.Round(float64(made.Pages)/made.ProcessingSeconds*1000) / 1000
	}
	return made
}

// warnings returns one summary for each reason, in the order of first appearance.
func (document *pages) warnings() []Warning {
	made, at := []Warning{}, map[string]int{}
	for _, each := range document.Warnings {
		if index, found := at[each.Reason]; found {
			made[index].Count++
			continue
		}
		text := []rune(each.Message)
		if len(text) > maxWarning {
			text = append(text[:maxWarning-1], '…')
		}
		at[each.Reason] = len(made)
		made = append(made, Warning{each.Reason, string(text), 1})
	}
	return made[:min(len(made), maxWarnings)]
}
