# Negative binomial fits of edgeR 3.40 on counts simulated here, for tests/stats/test_count_response.py.
# Run in this folder: Rscript run.R (Debian: r-bioc-edger).
suppressMessages(library(edgeR))
set.seed(1)
sample <- data.frame(line = rep(c("a", "b"), each = 6), arm = rep(c(0, 1), 6),
                     donor = rep(rep(1:3, each = 2), 2))
library.size <- round(exp(rnorm(12, log(20000), 0.5)) * ifelse(sample$arm == 1, 0.25, 1))
rate <- exp(rnorm(80, log(20), 1.5)) / 20000
mean <- outer(rate, library.size)
counts <- matrix(rnbinom(length(mean), mu = mean, size = 10), nrow(mean))
design <- model.matrix(~ 0 + line + line:factor(donor) + line:arm, sample)
design <- design[, qr(design)$pivot[seq_len(qr(design)$rank)]]
fit <- glmFit(counts, design, dispersion = 0.1, offset = log(library.size), prior.count = 0)
test <- glmLRT(fit, coef = which(colnames(design) == "lineb:arm"))
write.csv(data.frame(counts, check.names = FALSE), "counts.csv", row.names = FALSE)
write.csv(cbind(library.size, as.data.frame(design)), "design.csv", row.names = FALSE)
write.csv(data.frame(effect = fit$coefficients[, "lineb:arm"], deviance = fit$deviance,
                     LR = test$table$LR), "fit.csv", row.names = FALSE)
writeLines(capture.output(sessionInfo()), "sessionInfo.txt")
