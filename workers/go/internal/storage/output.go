package storage

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"steno.dev/workers/internal/task"
)

const (
	// checkName is an empty object that is written and deleted at once, to find out whether results can be written.
	checkName = ".steno-write-check"
	// maxArtifact bounds what is read back.
	maxArtifact = 256 << 20
)

// Output is a prefix of a bucket: a directory of write-once objects. Each is put in one request, so none is ever half
// written. Errors are *Failure, ErrLeft or that of a context.
type Output struct {
	at    *bucketAt
	retry time.Duration
}

// Output opens an output; nothing is read or written yet.
func (store *Store) Output(where task.Location) (*Output, error) {
	opened, err := store.open(where, output)
	if err != nil {
		return nil, err
	}
	return &Output{opened, store.retry}, nil
}

// URI is the directory, without a trailing slash.
func (to *Output) URI() string { return to.at.uri }

// CheckWritable finds out, before anything costly is done, whether objects can be written here.
func (to *Output) CheckWritable(ctx context.Context) error {
	if _, err := to.put(ctx, checkName, nil, "application/octet-stream", nil); err != nil {
		return err
	}
	// Permission to write but not to delete is enough for results; an empty object stays.
	if response, err := to.at.send(ctx, http.MethodDelete, to.key(checkName), nil, nil); err == nil {
		_ = response.Body.Close()
	}
	return ctx.Err()
}

// Read returns an object's bytes; nil if there is no such object, or none that may be read.
func (to *Output) Read(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	err := to.again(ctx, func() error {
		response, err := to.at.send(ctx, http.MethodGet, to.key(name), nil, nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		data, err = io.ReadAll(io.LimitReader(response.Body, maxArtifact+1))
		if err != nil {
			return &storeError{why: "the connection broke"}
		}
		if data == nil {
			data = []byte{}
		}
		return nil
	})
	failed, isAnswer := err.(*storeError)
	if !isAnswer {
		return data, err
	}
	// A store says that a missing key is forbidden to those who may not list the bucket.
	if kind, _ := failed.meaning(); kind == isForbidden || (kind == isMissing && failed.code != "NoSuchBucket") {
		return nil, nil
	}
	return nil, to.translate(failed)
}

// Create writes an object, as a whole or not at all, if none of that name exists; false: one does.
func (to *Output) Create(ctx context.Context, name string, data []byte, contentType string) (bool, error) {
	failed, err := to.put(ctx, name, data, contentType, map[string]string{"If-None-Match": "*"})
	if failed != nil && failed.status == http.StatusNotImplemented {
		// What exists is still kept, but of two writers at the same instant the later one overwrites.
		existing, err := to.Read(ctx, name)
		if existing != nil || err != nil {
			return false, err
		}
		_, err = to.put(ctx, name, data, contentType, nil)
		return err == nil, err
	}
	if failed != nil && failed.status == http.StatusPreconditionFailed {
		return false, nil
	}
	return err == nil, err
}

// put writes an object; of an answer that is an error it returns that, too.
func (to *Output) put(
	ctx context.Context, name string, data []byte, contentType string, headers map[string]string,
) (*storeError, error) {
	all := map[string]string{"Content-Type": contentType}
	for key, value := range headers {
		all[key] = value
	}
	err := to.again(ctx, func() error {
		response, err := to.at.send(ctx, http.MethodPut, to.key(name), data, all)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if failed, isAnswer := err.(*storeError); isAnswer {
		return failed, to.translate(failed)
	}
	return nil, err
}

// again repeats what may succeed the next time: losing results to a short outage would cost the whole work.
func (to *Output) again(ctx context.Context, do func() error) error {
	pause := to.retry / 2
	for try := 1; ; try++ {
		err := do()
		failed, isAnswer := err.(*storeError)
		if !isAnswer || try == tries || failed.status == http.StatusNotImplemented {
			return err
		}
		if kind, _ := failed.meaning(); kind != isUnavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (to *Output) key(name string) string {
	if to.at.key == "" {
		return name
	}
	return to.at.key + "/" + name
}

func (to *Output) translate(failed *storeError) *Failure {
	switch kind, why := failed.meaning(); kind {
	case isMissing:
		parts, _ := url.Parse(to.at.uri)
		return Fail(OutputNotFound, "The bucket %s of output.uri does not exist. Create it, or correct output.uri or its "+
			"endpoint.", parts.Host)
	case isForbidden:
		return Fail(OutputForbidden, "Writing %s is not allowed: %s. "+remedy+" They need s3:PutObject and s3:GetObject.",
			to.at.uri, why, output)
	case isInvalid:
		return Fail(InvalidSpec, "%s cannot be written: %s.", to.at.uri, why)
	default:
		return Fail(OutputUnavailable, "%s could not be written: %s. Check that the S3 endpoint is up and reachable from "+
			"the cluster.", to.at.uri, why)
	}
}
