// Package sessionkey reads session keys from requests and responses.
package sessionkey
