package storage

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"steno.dev/workers/internal/egress"
	"steno.dev/workers/internal/task"
)

const (
	maxRedirects = 5
	tries        = 5
	// leastRate is the bytes a second in the mean that a source has to send; patience is waiting that does not count.
	leastRate = 16 << 10
	patience  = time.Minute
	// silence is how long a source may send nothing.
	silence = 30 * time.Second
)

// unavailable is an error that may not come again.
type unavailable struct{ why string }

func (failed *unavailable) Error() string { return failed.why }

// Fetch returns the bytes of a source. The error is a *Failure; or ErrLeft, if it is larger than a runtime server takes
// or comes in a way that this worker does not read; or that of ctx.
func (store *Store) Fetch(ctx context.Context, from task.Location) ([]byte, error) {
	var open func(context.Context) (*http.Response, error)
	var err error
	if strings.HasPrefix(from.URI, "s3://") {
		open, err = store.s3Source(from)
	} else {
		open, err = store.webSource(from)
	}
	if err != nil {
		return nil, err
	}
	shown := Redact(from.URI)
	for try := 1; ; try++ {
		data, err := read(ctx, open, from.MaxBytes, shown)
		var again *unavailable
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !errors.As(err, &again) {
			return data, err
		}
		if try == tries {
			return nil, Fail(SourceUnavailable, "%s could not be read: %s (%d tries). Check that the server is up and "+
				"reachable from the cluster.", shown, again.why, try)
		}
		select {
		case <-ctx.Done():
		case <-time.After(store.retry << (try - 1)):
		}
	}
}

func read(
	ctx context.Context, open func(context.Context) (*http.Response, error), most int64, shown string,
) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, length := io.Reader(response.Body), response.ContentLength
	switch encoding := strings.ToLower(strings.TrimSpace(response.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
	case "gzip", "x-gzip": // although it was not requested
		if body, err = gzip.NewReader(body); err != nil {
			return nil, &unavailable{"the body is not gzip, although its Content-Encoding says so"}
		}
		length = -1
	default:
		return nil, ErrLeft
	}
	if length > most {
		return nil, tooLarge(shown, most)
	}
	if length > MaxDocument {
		return nil, ErrLeft
	}
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	var data bytes.Buffer
	piece, begun := make([]byte, 128<<10), time.Now()
	for {
		count, err := body.Read(piece)
		watch.Reset(silence)
		data.Write(piece[:count])
		switch waited := time.Since(begun); {
		case int64(data.Len()) > most:
			return nil, tooLarge(shown, most)
		case data.Len() > MaxDocument:
			return nil, ErrLeft
		case errors.Is(err, io.EOF):
			return data.Bytes(), nil
		case err != nil:
			return nil, &unavailable{"the connection broke"}
		case waited > patience && float64(data.Len()) < leastRate*(waited-patience).Seconds():
			return nil, Fail(SourceUnavailable, "%s comes too slowly: %d bytes in %.0f s. Copy it to a store that is "+
				"near the cluster.", shown, data.Len(), waited.Seconds())
		}
	}
}

func tooLarge(shown string, most int64) *Failure {
	return Fail(TooLarge, "%s has more than the limit of %d bytes. Split it.", shown, most)
}

func (store *Store) webSource(from task.Location) (func(context.Context) (*http.Response, error), error) {
	shown := Redact(from.URI)
	invalid := func(why string) *Failure {
		return Fail(InvalidSpec, "%s cannot be read: %s. Correct source.uri.", shown, why)
	}
	first, err := url.Parse(from.URI)
	if err != nil || first.Hostname() == "" {
		return nil, invalid("it is not a valid URL")
	}
	values, err := readCredentials(from.CredentialsDir)
	if err != nil {
		return nil, err
	}
	var limits *scope // credentials within the URL are for that URL
	if from.CredentialsDir != nil {
		parsed, err := scopeOf(values)
		if err != nil {
			return nil, Fail(InvalidSpec, "In the Secret of source.secretRef, %v. Correct it.", err)
		}
		if why := parsed.refuseURL(from.URI); why != "" {
			return nil, outsideScope(source, shown, why)
		}
		limits = &parsed
	}
	secret, err := authorization(values, first)
	if err != nil {
		return nil, err
	}
	first.User = nil
	send := func(ctx context.Context, where *url.URL) (*http.Response, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
		if err != nil {
			return nil, invalid("the server redirects to something that is not a URL")
		}
		request.Header.Set("Accept-Encoding", "identity")
		request.Header.Set("User-Agent", "steno-worker")
		own := where.Scheme == first.Scheme && where.Host == first.Host
		if secret != "" && own && (limits == nil || limits.refuseURL(where.String()) == "") {
			request.Header.Set("Authorization", secret)
		}
		response, err := store.transport.RoundTrip(request)
		if forbiddenAddress(err) {
			return nil, Fail(SourceForbidden, "%s leads to an address that is %s. If a source may be there, have its "+
				"network allowed (egress.allowedNetworks of the chart).", shown, egress.Denied)
		}
		if err != nil {
			return nil, &unavailable{plainError(err)}
		}
		return response, nil
	}
	return func(ctx context.Context) (*http.Response, error) {
		where := first
		for range maxRedirects + 1 {
			if (where.Scheme != "http" && where.Scheme != "https") || where.Hostname() == "" {
				return nil, invalid("the server redirects to something that is neither http nor https")
			}
			response, err := send(ctx, where)
			if err != nil {
				return nil, err
			}
			if !isRedirect(response.StatusCode) {
				return checked(response, shown, secret != "")
			}
			_ = response.Body.Close()
			if where, err = where.Parse(response.Header.Get("Location")); err != nil {
				return nil, invalid("the server redirects to something that is not a URL")
			}
		}
		return nil, invalid("the server redirects more than 5 times")
	}, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return true
	}
	return false
}

// checked returns an answer that has the source, or what another one means.
func checked(response *http.Response, shown string, hasSecret bool) (*http.Response, error) {
	status := response.StatusCode
	if status == http.StatusOK {
		return response, nil
	}
	_ = response.Body.Close()
	answered := strings.TrimSpace(response.Status[:min(3, len(response.Status))] + " " + http.StatusText(status))
	switch {
	case status == http.StatusNotFound || status == http.StatusGone:
		return nil, Fail(SourceNotFound, "%s was not found: the server answered %s. Check source.uri.", shown, answered)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		remedy := "Set source.secretRef to a Secret with the keys allowedPrefix and steno-http-token, or " +
			"steno-http-username and steno-http-password; if the URL is a signed one, it may have expired."
		if hasSecret {
			remedy = "Check the credentials in the Secret of source.secretRef."
		}
		return nil, Fail(SourceForbidden, "Reading %s is not allowed: the server answered %s. %s", shown, answered, remedy)
	case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout ||
		status == http.StatusTooEarly || status == http.StatusTooManyRequests:
		return nil, &unavailable{"the server answered " + answered}
	}
	return nil, Fail(InvalidSpec, "%s cannot be read: the server answered %s, not 200 OK. Correct source.uri.", shown,
		answered)
}

func authorization(values map[string]string, from *url.URL) (string, error) {
	if token := values[httpToken]; token != "" {
		for _, char := range []byte(token) {
			if char < ' ' || char > '~' {
				return "", Fail(SourceForbidden, "The token in the Secret of source.secretRef cannot be sent: it has a "+
					"line break, or a character beyond ASCII. Put the token alone there.")
			}
		}
		return "Bearer " + token, nil
	}
	password, _ := from.User.Password()
	username := from.User.Username()
	if value, found := values[httpUsername]; found {
		username = value
	}
	if value, found := values[httpPassword]; found {
		password = value
	}
	if username == "" && password == "" {
		return "", nil
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)), nil
}
