package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"steno.dev/workers/internal/egress"
	"steno.dev/workers/internal/operator"
	"steno.dev/workers/internal/publish"
	"steno.dev/workers/internal/storage"
	"steno.dev/workers/internal/task"
)

const (
	// maxEnd is how long the end of an attempt may be, in JSON: as a pod's termination message.
	maxEnd         = 4096
	tooLongForPool = "TooLongForPool"
	internalReason = "Internal"
)

// Shares of the whole work, as the runtime's progress has them.
const (
	fetching, recognizing, publishing = "Fetching", "Recognizing", "Publishing"
	fetched, read                     = 6, 90
)

// Reader reads documents; see recognition.Server.
type Reader interface {
	Read(ctx context.Context, asked *task.OCR, content []byte) (*publish.Document, error)
}

// Maker makes attempts of a pool's OCRJobs: fetches the source, has a runtime server read it, publishes the result.
type Maker struct {
	pool     *task.Pool
	operator *operator.Client
	reader   Reader
	store    *storage.Store
}

// NewMaker prepares the attempts of a pool.
func NewMaker(pool *task.Pool, reports *operator.Client, reader Reader) (*Maker, error) {
	filter, err := egress.New(pool.Egress.AllowedNetworks, pool.Egress.DeniedNetworks)
	if err != nil {
		return nil, err
	}
	return &Maker{pool, reports, reader, storage.NewStore(filter)}, nil
}

// progress of an attempt: written by one goroutine, read by another.
type progress struct {
	mutex sync.Mutex
	now   *operator.Progress
	pages int
}

func (of *progress) set(stage string, percent, pages int) {
	of.mutex.Lock()
	defer of.mutex.Unlock()
	of.pages = max(of.pages, pages)
	of.now = &operator.Progress{Stage: stage, Percent: percent, Pages: of.pages}
}

func (of *progress) get() (*operator.Progress, operator.Used) {
	of.mutex.Lock()
	defer of.mutex.Unlock()
	return of.now, operator.Used{Pages: of.pages}
}

// succeeded and failed are results of an attempt.
type succeeded struct {
	Outcome   string             `json:"outcome"`
	Manifest  string             `json:"manifest"`
	Artifacts []publish.Artifact `json:"artifacts"`
	Summary   publish.Summary    `json:"summary"`
	Warnings  []publish.Warning  `json:"warnings"`
}

type failed struct {
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// make makes an attempt; returns its result, a succeeded or failed. The error is storage.ErrLeft, or that of ctx.
func (maker *Maker) make(ctx context.Context, asked *task.OCR, at *progress) (any, error) {
	manifest, err := maker.run(ctx, asked, at)
	var failure *storage.Failure
	switch {
	case err == nil:
		return bounded(succeeded{
			"Succeeded", asked.Output.URI + "/manifest.json", manifest.Artifacts, manifest.Summary, manifest.Warnings,
		}), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, storage.ErrLeft):
		return nil, err
	case errors.As(err, &failure):
		if failure.Reason == storage.TooLarge && asked.OnlyShort != nil {
			failure.Reason = tooLongForPool
		}
		return failed{"Failed", failure.Reason, failure.Message}, nil
	}
	slog.Error("an attempt failed unexpectedly", "error", err.Error())
	return failed{"Failed", internalReason, "The worker failed unexpectedly: a defect in Steno. The pod's log has the " +
		"details; please report it."}, nil
}

func (maker *Maker) run(ctx context.Context, asked *task.OCR, at *progress) (*publish.Manifest, error) {
	to, err := maker.store.Output(asked.Output)
	if err != nil {
		return nil, err
	}
	keys := func(ctx context.Context) ([][]byte, error) {
		return maker.operator.Keys(ctx, asked.Job, maker.pool.Pool)
	}
	proofs := publish.NewProofs(keys, to.URI())
	if found, err := publish.Find(ctx, to, asked.Job.UID, proofs); found != nil || err != nil {
		return found, err
	}
	if err := to.CheckWritable(ctx); err != nil {
		return nil, err
	}
	at.set(fetching, 1, 0)
	content, err := maker.store.Fetch(ctx, asked.Source)
	if err != nil {
		return nil, err
	}
	at.set(recognizing, fetched, 0)
	document, err := maker.reader.Read(ctx, asked, content)
	if err != nil {
		return nil, err
	}
	at.set(publishing, read, document.Pages())
	if err := proofs.Prepare(ctx); err != nil {
		return nil, err
	}
	// What was read is published even if the worker is asked to stop meanwhile: that takes a moment.
	return publish.Publish(context.WithoutCancel(ctx), to, asked, document, proofs)
}

// bounded leaves out warnings until a result is as short as the operator keeps it; the manifest has them all.
func bounded(result succeeded) succeeded {
	for len(result.Warnings) > 0 {
		data, err := json.Marshal(operator.Ended{Result: result, Used: operator.Used{Pages: result.Summary.Pages}})
		if err == nil && len(data) <= maxEnd {
			break
		}
		result.Warnings = result.Warnings[:len(result.Warnings)-1]
	}
	return result
}
