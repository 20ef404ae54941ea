package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"steno.dev/workers/internal/egress"
	"steno.dev/workers/internal/task"
)

const (
	defaultRegion = "us-east-1"
	// maxError is how much of an error's document is read.
	maxError = 64 << 10
)

var (
	region    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	forbidden = map[string]bool{
		"AccessDenied": true, "AllAccessDisabled": true, "ExpiredToken": true, "InvalidAccessKeyId": true,
		"InvalidToken": true, "SignatureDoesNotMatch": true, "XAdminUserNotFound": true,
	}
	wrongRegion = map[string]bool{
		"AuthorizationHeaderMalformed": true, "PermanentRedirect": true, "IllegalLocationConstraintException": true,
	}
	signer = v4.NewSigner(func(options *v4.SignerOptions) { options.DisableURIPathEscaping = true })
)

// bucketAt is where requests for a source or an output go.
type bucketAt struct {
	transport        *egress.Transport
	role             role
	uri              string
	endpoint, region string
	bucket, key      string
	credentials      *string
}

// open prepares requests with the keys of a location's Secret. Without keys in it the error is ErrLeft: a server of the
// pool has an identity of its own, this worker has not.
func (store *Store) open(where task.Location, of role) (*bucketAt, error) {
	values, err := readCredentials(where.CredentialsDir)
	if err != nil {
		return nil, err
	}
	if values[accessKey] == "" && values[secretKey] == "" {
		return nil, ErrLeft
	}
	for _, name := range []string{accessKey, secretKey} {
		if values[name] == "" {
			return nil, Fail(InvalidSpec, "The Secret of %s.secretRef lacks the key %s. Add it.", of, name)
		}
	}
	opened := &bucketAt{transport: store.transport, role: of, uri: where.URI, credentials: where.CredentialsDir}
	opened.bucket, opened.key, _ = strings.Cut(strings.TrimPrefix(where.URI, "s3://"), "/")
	if of == output {
		opened.key = strings.Trim(opened.key, "/")
	}
	opened.endpoint = first(where.EndpointURL, values[endpointKey], os.Getenv(endpointKey))
	opened.region = first(where.Region, values[regionKey], defaultRegion)
	target, ok := s3Location(opened.bucket, opened.key)
	if !ok {
		return nil, Fail(InvalidSpec, "%s is not a bucket and key of S3: a part of it is empty or relative. Correct "+
			"%s.uri.", where.URI, of)
	}
	if !region.MatchString(opened.region) { // it becomes part of a host name
		return nil, Fail(InvalidSpec, "The region of %s is not one. Correct %s.region.", where.URI, of)
	}
	limits, err := scopeOf(values)
	if err != nil {
		return nil, Fail(InvalidSpec, "In the Secret of %s.secretRef, %v. Correct it.", of, err)
	}
	if why := limits.refuseObject(opened.endpoint, opened.region, target); why != "" {
		server := "AWS"
		if opened.endpoint != "" {
			server = Redact(opened.endpoint)
		}
		return nil, outsideScope(of, fmt.Sprintf("%s for %s", server, where.URI), why)
	}
	if opened.endpoint == "" {
		opened.endpoint = awsEndpoint(opened.region)
	}
	return opened, nil
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// storeError is an answer of the store that is none of success.
type storeError struct {
	status int
	code   string
	// why there was no answer.
	why string
	// denied by the filter of addresses.
	denied bool
}

func (failed *storeError) Error() string {
	if failed.why != "" {
		return failed.why
	}
	answered := fmt.Sprintf("the store answered %d %s", failed.status, http.StatusText(failed.status))
	return strings.TrimSpace(strings.TrimSpace(answered) + " " + failed.code)
}

type errorDocument struct {
	Code string `xml:"Code"`
}

// send signs a request and sends it; an answer that is none of success is a *storeError. No redirect is followed.
func (at *bucketAt) send(
	ctx context.Context, method, key string, body []byte, headers map[string]string,
) (*http.Response, error) {
	values, err := readCredentials(at.credentials)
	if err != nil {
		return nil, err
	}
	where, err := url.Parse(strings.TrimRight(at.endpoint, "/"))
	if err != nil {
		return nil, Fail(InvalidSpec, "%s.endpointURL is not a URL. Correct it.", at.role)
	}
	path := "/" + at.bucket + "/" + key // a bucket's own host would be another origin
	where.RawPath = where.EscapedPath() + escape(path)
	where.Path += path
	request, err := http.NewRequestWithContext(ctx, method, where.String(), bytes.NewReader(body))
	if err != nil {
		return nil, Fail(InvalidSpec, "%s.endpointURL is not a URL. Correct it.", at.role)
	}
	digest := sha256.Sum256(body)
	payload := hex.EncodeToString(digest[:])
	request.Header.Set("X-Amz-Content-Sha256", payload)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	keys := aws.Credentials{
		AccessKeyID: values[accessKey], SecretAccessKey: values[secretKey], SessionToken: values[sessionKey],
	}
	if err := signer.SignHTTP(ctx, keys, request, payload, "s3", at.region, time.Now()); err != nil {
		return nil, err
	}
	response, err := at.transport.RoundTrip(request)
	if ctx.Err() != nil {
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &storeError{why: "the store did not answer", denied: forbiddenAddress(err)}
	}
	if response.StatusCode >= http.StatusOK && response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	defer response.Body.Close()
	var document errorDocument
	data, _ := io.ReadAll(io.LimitReader(response.Body, maxError))
	_ = xml.Unmarshal(data, &document) // an answer without a document has no code
	return nil, &storeError{status: response.StatusCode, code: document.Code}
}

// escape writes a path as signatures have it: everything but unreserved characters and slashes is escaped.
func escape(path string) string {
	var made strings.Builder
	for _, char := range []byte(path) {
		switch {
		case char >= 'a' && char <= 'z', char >= 'A' && char <= 'Z', char >= '0' && char <= '9',
			strings.IndexByte("-._~/", char) >= 0:
			made.WriteByte(char)
		default:
			fmt.Fprintf(&made, "%%%02X", char)
		}
	}
	return made.String()
}

// kind of a storeError.
type kind int

const (
	isUnavailable kind = iota
	isMissing
	isForbidden
	isInvalid
)

// meaning of an error, and a few words for people.
func (failed *storeError) meaning() (kind, string) {
	switch status := failed.status; {
	case failed.denied:
		return isInvalid, "its endpoint leads to an address that is " + egress.Denied
	case forbidden[failed.code] || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return isForbidden, failed.Error()
	case wrongRegion[failed.code]:
		return isInvalid, "the bucket is in another region; set region (or AWS_REGION in the Secret)"
	case status == http.StatusNotFound:
		return isMissing, failed.Error()
	case isRedirect(status):
		return isInvalid, "its endpoint redirects to another server, which gets no credentials"
	case status >= http.StatusMultipleChoices && status < http.StatusInternalServerError &&
		status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests &&
		status != http.StatusConflict:
		return isInvalid, failed.Error()
	}
	return isUnavailable, failed.Error()
}

const remedy = "Check the credentials in the Secret of %s.secretRef and their permissions."

func (store *Store) s3Source(from task.Location) (func(context.Context) (*http.Response, error), error) {
	opened, err := store.open(from, source)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*http.Response, error) {
		response, err := opened.send(ctx, http.MethodGet, opened.key, nil, nil)
		failed, isAnswer := err.(*storeError)
		if !isAnswer {
			return response, err
		}
		switch kind, why := failed.meaning(); kind {
		case isMissing:
			what := "no such object"
			if failed.code == "NoSuchBucket" {
				what = "its bucket does not exist"
			}
			return nil, Fail(SourceNotFound, "%s was not found: %s. Check bucket, key and endpoint; keys are "+
				"case-sensitive.", from.URI, what)
		case isForbidden:
			return nil, Fail(SourceForbidden, "Reading %s is not allowed: %s. "+remedy+" They need s3:GetObject.",
				from.URI, why, source)
		case isInvalid:
			return nil, Fail(InvalidSpec, "%s cannot be read: %s.", from.URI, why)
		default:
			return nil, &unavailable{why}
		}
	}, nil
}
