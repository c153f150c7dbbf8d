package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"
)

func newLogger(level string, out zapcore.WriteSyncer) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	return zap.New(zapcore.NewCore(newEncoder(), out, parsed), zap.ErrorOutput(out)), nil
}

func newEncoder() zapcore.Encoder {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zapcore.NewJSONEncoder(encoding)
}

// lostLines is the line that tells a gap in the log.
func lostLines(name string, lost uint64) []byte {
	line, err := newEncoder().EncodeEntry(
		zapcore.Entry{Level: zap.WarnLevel, Time: time.Now(), LoggerName: name, Message: "log lines were lost: nobody read them in time"},
		[]zapcore.Field{zap.Uint64("lost", lost)})
	if err != nil {
		return fmt.Appendf(nil, "%s: %d log lines were lost\n", name, lost)
	}
	defer line.Free()
	return append([]byte(nil), line.Bytes()...)
}

// captureLogs has the libraries that log by themselves use our logger: each would
// write to stderr on its own, and wait for whoever reads it. What it returns takes
// the standard library's log back; the others keep no record of who came before.
func captureLogs(logger *zap.Logger) (restore func(), err error) {
	restore, err = zap.RedirectStdLogAt(logger, zap.WarnLevel)
	if err != nil {
		return nil, fmt.Errorf("capture the standard log: %w", err)
	}
	grpclog.SetLoggerV2(zapgrpc.NewLogger(logger.Named("grpc").WithOptions(zap.IncreaseLevel(max(grpcLevel(), logger.Level())))))
	traces := logger.Named("traces")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { traces.Warn("tracing failed", zap.Error(err)) }))
	otel.SetLogger(funcr.New(func(_, args string) { traces.Warn("tracing", zap.String("details", args)) }, funcr.Options{}))
	return restore, nil
}

// grpcLevel is what gRPC's own variable asks for.
func grpcLevel() zapcore.Level {
	switch strings.ToLower(os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL")) {
	case "info":
		return zap.InfoLevel
	case "warning":
		return zap.WarnLevel
	}
	return zap.ErrorLevel
}
