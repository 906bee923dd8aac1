# Likelihood ratio tests of contrasts by edgeR 3.40, on the counts of run.R, for
# tests/tl/test_response_model.py. Run in this folder: Rscript contrast.R (Debian: r-bioc-edger).
suppressMessages(library(edgeR))
counts <- as.matrix(read.csv("counts.csv", check.names = FALSE))
design <- as.matrix(read.csv("design.csv", check.names = FALSE))
library.size <- design[, "library.size"]
design <- design[, colnames(design) != "library.size"]
fit <- glmFit(counts, design, dispersion = 0.1, offset = log(library.size), prior.count = 0)
apart <- (colnames(design) == "linea:arm") - (colnames(design) == "lineb:arm")
one <- glmLRT(fit, contrast = apart)
both <- glmLRT(fit, coef = which(colnames(design) %in% c("linea:arm", "lineb:arm")))
write.csv(data.frame(effect = one$table$logFC * log(2), LR = one$table$LR,
                     LR.both = both$table$LR), "contrast.csv", row.names = FALSE)
