// Package publish publishes a document as the runtime does: write-once artifacts with their proofs, then a manifest, so
// that readers see a whole result or none, and two workers that publish at once make one consistent result.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"steno.dev/workers/internal/storage"
	"steno.dev/workers/internal/task"
)

// Primary is the format that holds everything.
const Primary = "json"

// File is one artifact, as a runtime server made it.
type File struct {
	Format, Name, ContentType string
	Data                      []byte
}

// Document is a document in every format that was asked for.
type Document struct {
	files []File
	read  pages
}

// ReadDocument takes the files of a document, of which one is the primary format.
func ReadDocument(files []File) (*Document, bool) {
	made := &Document{files: files}
	for _, file := range files {
		if file.Format == Primary {
			return made, json.Unmarshal(file.Data, &made.read) == nil
		}
	}
	return nil, false
}

// Pages is the number of pages that were read, or could not be.
func (document *Document) Pages() int { return document.read.TotalPages }

// IsOf tells whether the document is that of a task.
func (document *Document) IsOf(asked *task.OCR) bool {
	return document.read.DocumentID == asked.DocumentID && document.read.TenantID == asked.Tenant
}

// Publish publishes the formats of a task. An artifact that exists already, and that a worker of this job wrote, is
// adopted; of another primary one the error is storage.ErrLeft, unless its manifest is there by now: the other formats
// are made from it, which servers of the pool can. The same if the document has none of the task's formats.
func Publish(
	ctx context.Context, to *storage.Output, asked *task.OCR, document *Document, proofs *Proofs,
) (*Manifest, error) {
	made := &Manifest{
		Job: asked.Job, Attempt: asked.Attempt, Tenant: asked.Tenant, SourceURI: storage.Redact(asked.Source.URI),
		Metadata: asked.Metadata, Summary: document.read.summary(), Warnings: document.read.warnings(),
	}
	if made.Metadata == nil {
		made.Metadata = map[string]string{}
	}
	for _, file := range document.files {
		if !slices.Contains(asked.Output.Formats, file.Format) {
			continue
		}
		if err := proofs.Write(ctx, to, file.Name, file.Data); err != nil {
			return nil, err
		}
		existing, err := createOrRead(ctx, to, file.Name, file.Data, file.ContentType)
		if err != nil {
			return nil, err
		}
		data := file.Data
		if existing != nil {
			held, err := proofs.Hold(ctx, to, file.Name, existing)
			if err == nil && !held {
				err = conflict(to, file.Name)
			}
			if err != nil {
				return nil, err
			}
			if file.Format == Primary {
				return adopt(ctx, to, asked, proofs)
			}
			data = existing
		}
		made.Artifacts = append(made.Artifacts, Artifact{file.Format, file.Name, digestOf(data), len(data)})
	}
	if len(made.Artifacts) == 0 {
		return nil, storage.ErrLeft
	}
	return write(ctx, to, made, proofs)
}

func adopt(ctx context.Context, to *storage.Output, asked *task.OCR, proofs *Proofs) (*Manifest, error) {
	found, err := Find(ctx, to, asked.Job.UID, proofs)
	if err == nil && found == nil {
		err = storage.ErrLeft
	}
	return found, err
}

// createOrRead creates an object unless it exists; returns what was there before, nil if it is ours from now on.
func createOrRead(ctx context.Context, to *storage.Output, name string, data []byte, kind string) ([]byte, error) {
	// It is read first for the sake of stores without conditional writes, where a write would overwrite.
	existing, err := to.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	if existing == nil {
		created, err := to.Create(ctx, name, data, kind)
		if err != nil || created {
			return nil, err
		}
		if existing, err = to.Read(ctx, name); err != nil {
			return nil, err
		}
	}
	if existing == nil {
		return nil, storage.Fail(storage.OutputForbidden, "%s/%s exists but cannot be read back. Allow the output's "+
			"credentials to read (s3:GetObject).", to.URI(), name)
	}
	if bytes.Equal(existing, data) {
		return nil, nil
	}
	return existing, nil
}
